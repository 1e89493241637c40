//! The Protobuf API of patchplane, generated from `proto/patchplane/v1`: messages, client and server stubs, descriptors.
//! The comments in the `.proto` files are the reference.

/// Package `patchplane.v1`.
#[allow(clippy::all, clippy::pedantic, rustdoc::all, missing_docs)]
pub mod v1 {
    tonic::include_proto!("patchplane.v1");
}

/// The encoded `FileDescriptorSet` of the package, for reflection and for clients that work without generated code.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/patchplane.v1.binpb"));
