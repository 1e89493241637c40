//! The methods that are served, as layers tell them apart: from the descriptors, so that none is forgotten.

use patchplane_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::{collections::HashMap, sync::Arc};

/// How long a call may last, and whether it counts as work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Works until it answers.
    Unary,
    /// Waits for something, and answers then.
    Wait,
    /// Goes on until something has ended.
    Stream,
    /// Asks how the server is, or what it serves: never refused.
    Probe,
}

/// One served method. The name is the only thing of a request that metrics may carry: there are so many and no more.
#[derive(Clone, Debug)]
pub(super) struct Method {
    /// `patchplane.v1.PatchOperationService/CreatePatchOperation`.
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
}

/// All served methods, by path.
#[derive(Clone)]
pub(super) struct Methods {
    known: Arc<HashMap<String, Method>>,
    unknown: Method,
}

impl Methods {
    pub(super) fn served() -> Result<Self, prost::DecodeError> {
        let mut known = HashMap::new();
        let probes = [tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET];
        let probes = probes.into_iter().chain([tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET]);
        for (set, probe) in probes.map(|set| (set, true)).chain([(FILE_DESCRIPTOR_SET, false)]) {
            for file in FileDescriptorSet::decode(set)?.file {
                for service in &file.service {
                    for method in &service.method {
                        let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                        let kind = match method.name() {
                            _ if probe => Kind::Probe,
                            _ if method.server_streaming() => Kind::Stream,
                            name if name.starts_with("Wait") => Kind::Wait,
                            _ => Kind::Unary,
                        };
                        known.insert(format!("/{name}"), Method { name: name.into(), kind });
                    }
                }
            }
        }
        Ok(Self { known: Arc::new(known), unknown: Method { name: "_OTHER".into(), kind: Kind::Unary } })
    }

    pub(super) fn at(&self, path: &str) -> &Method {
        self.known.get(path).unwrap_or(&self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_is_known_by_its_kind_and_no_other_by_any_name() {
        let methods = Methods::served().unwrap();
        let kind = |path: &str| methods.at(path).kind;
        assert_eq!(kind("/patchplane.v1.PatchOperationService/CreatePatchOperation"), Kind::Unary);
        assert_eq!(kind("/patchplane.v1.PatchOperationService/WaitPatchOperation"), Kind::Wait);
        assert_eq!(kind("/patchplane.v1.PatchOperationService/WatchPatchOperation"), Kind::Stream);
        assert_eq!(kind("/grpc.health.v1.Health/Check"), Kind::Probe);
        assert_eq!(kind("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"), Kind::Probe);
        assert_eq!(&*methods.at("/patchplane.v1.PatchOperationService/CreateTrouble").name, "_OTHER");
    }
}
