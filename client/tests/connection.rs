//! The client against a small server of its own: retries, request ids, broken connections, lists over pages.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use futures::StreamExt as _;
use patchplane_client::{
    Client, Listing, Location,
    api::{
        self,
        patch_group_service_server::{PatchGroupService, PatchGroupServiceServer},
    },
};
use std::sync::{Arc, Mutex};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// Refuses the first calls to AttachBaseline, and keeps the request ids it saw.
#[derive(Clone, Default)]
struct Fake {
    refusals: usize,
    request_ids: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl PatchGroupService for Fake {
    async fn list_patch_groups(
        &self,
        request: Request<api::ListPatchGroupsRequest>,
    ) -> Result<Response<api::ListPatchGroupsResponse>, Status> {
        let group = |name: &str| api::PatchGroup { patch_group: name.to_owned(), ..Default::default() };
        let away = api::Unreachable { location: "accounts/1/regions/x".to_owned(), ..Default::default() };
        Ok(Response::new(match request.into_inner().page_token.as_str() {
            "" => api::ListPatchGroupsResponse {
                patch_groups: vec![group("a")],
                next_page_token: "second".to_owned(),
                unreachable: vec![],
            },
            _ => api::ListPatchGroupsResponse {
                patch_groups: vec![group("b")],
                next_page_token: String::new(),
                unreachable: vec![away],
            },
        }))
    }

    async fn get_patch_group(
        &self,
        _: Request<api::GetPatchGroupRequest>,
    ) -> Result<Response<api::GetPatchGroupResponse>, Status> {
        Ok(Response::new(api::GetPatchGroupResponse::default()))
    }

    async fn attach_baseline(
        &self,
        request: Request<api::AttachBaselineRequest>,
    ) -> Result<Response<api::AttachBaselineResponse>, Status> {
        let mut seen = self.request_ids.lock().unwrap();
        seen.push(request.into_inner().request_id);
        if seen.len() <= self.refusals {
            Err(Status::unavailable("later"))
        } else {
            Ok(Response::new(Default::default()))
        }
    }

    async fn detach_baseline(
        &self,
        _: Request<api::DetachBaselineRequest>,
    ) -> Result<Response<api::DetachBaselineResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn list_tag_findings(
        &self,
        _: Request<api::ListTagFindingsRequest>,
    ) -> Result<Response<api::ListTagFindingsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn add_instances(
        &self,
        _: Request<api::AddInstancesRequest>,
    ) -> Result<Response<api::AddInstancesResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn remove_instances(
        &self,
        _: Request<api::RemoveInstancesRequest>,
    ) -> Result<Response<api::RemoveInstancesResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

/// Serves `fake` on a free port, after the first `broken` connections were closed when the client had said something.
async fn serve(fake: Fake, broken: usize) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for _ in 0..broken {
            let (mut connection, _): (TcpStream, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 1024]).await.unwrap();
        }
        let incoming = TcpListenerStream::new(listener).boxed();
        Server::builder().add_service(PatchGroupServiceServer::new(fake)).serve_with_incoming(incoming).await.unwrap();
    });
    Client::builder(format!("http://{address}")).connect_lazy().unwrap()
}

#[tokio::test]
async fn a_mutation_keeps_its_request_id_through_all_attempts() {
    let fake = Fake { refusals: 2, ..Fake::default() };
    let client = serve(fake.clone(), 0).await;
    client.attach_baseline(api::AttachBaselineRequest::default()).await.unwrap();
    client
        .attach_baseline(api::AttachBaselineRequest { request_id: "mine".into(), ..Default::default() })
        .await
        .unwrap();
    let seen = fake.request_ids.lock().unwrap().clone();
    assert_eq!(seen.len(), 4);
    assert!(!seen[0].is_empty() && seen[0] == seen[1] && seen[1] == seen[2], "{seen:?}");
    assert_eq!(seen[3], "mine");
}

#[tokio::test]
async fn a_connection_that_breaks_in_a_call_is_made_anew() {
    let client = serve(Fake::default(), 2).await;
    let name = Location::new("1", "x").unwrap().patch_group("web");
    client.get_patch_group(api::GetPatchGroupRequest { name }).await.unwrap();
}

#[tokio::test]
async fn a_list_goes_over_all_pages_and_keeps_what_was_not_reached() {
    let client = serve(Fake::default(), 0).await;
    let all = Listing::collect(client.list_patch_groups(api::ListPatchGroupsRequest::default())).await.unwrap();
    let names: Vec<_> = all.items.iter().map(|group| group.patch_group.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(all.unreachable[0].location, "accounts/1/regions/x");
}
