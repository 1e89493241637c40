//! Following an operation to its end, over broken connections and restarts of the server.

use crate::{
    Client, Error, Result, Retry,
    api::{
        self, PatchOperation, PatchOperationTarget, patch_operation::State, patch_operation_target,
        watch_patch_operation_response::Event,
    },
};
use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status, Streaming};

/// How long a server may stay away before waiting and watching give up.
const PATIENCE: Duration = Duration::from_secs(600);
/// Watches bring a heartbeat every 15 seconds: three missed ones mean that the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// What a watch has told so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Followed {
    /// The operation at its newest state; none before the first message.
    pub operation: Option<PatchOperation>,
    /// The targets at their newest state, by instance id.
    pub targets: BTreeMap<String, PatchOperationTarget>,
}

impl Followed {
    /// Takes in a message of the watch. True if it brought news, false for a heartbeat.
    pub fn apply(&mut self, message: api::WatchPatchOperationResponse) -> bool {
        let (operation, targets) = match message.event {
            Some(Event::Snapshot(part)) => (part.patch_operation, part.targets),
            Some(Event::Update(update)) => (update.patch_operation, update.targets),
            Some(Event::Heartbeat(_)) | None => return false,
        };
        self.operation = operation.or(self.operation.take());
        self.targets.extend(targets.into_iter().map(|target| (target.instance_id.clone(), target)));
        true
    }

    /// Whether any target is in this state.
    pub fn any(&self, state: patch_operation_target::State) -> bool {
        self.targets.values().any(|target| target.state() == state)
    }
}

/// Whether an operation has come to its end.
pub fn has_ended(operation: &PatchOperation) -> bool {
    matches!(operation.state(), State::Succeeded | State::CompletedWithFailures | State::Failed | State::Cancelled)
}

impl Client {
    /// Waits until the operation has ended, however long it takes. A server that is away for less than ten minutes is
    /// waited for; wrap it in `tokio::time::timeout` to wait for less.
    pub async fn wait(&self, name: impl Into<String>) -> Result<PatchOperation> {
        let request = api::WaitPatchOperationRequest {
            name: name.into(),
            timeout: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        };
        let mut absence = Absence::new(*self.retry());
        loop {
            match self.wait_patch_operation(request.clone()).await {
                Ok(answer) => match answer.patch_operation {
                    Some(operation) if has_ended(&operation) => return Ok(operation),
                    _ => absence = Absence::new(*self.retry()),
                },
                Err(error) => absence.endure(error).await?,
            }
        }
    }

    /// Watches the operation until it has ended: its present state, then each change, and heartbeats. A broken stream is
    /// resumed where it broke; after a long interruption a new snapshot comes. [`Followed`] puts the messages together.
    pub fn watch(&self, name: impl Into<String>) -> BoxStream<'static, Result<api::WatchPatchOperationResponse>> {
        let client = self.clone();
        let open = move |request| {
            let (mut stub, request) = (client.patch_operations(), client.traced(request));
            async move { stub.watch_patch_operation(request).await.map(tonic::Response::into_inner) }
        };
        let request = api::WatchPatchOperationRequest { name: name.into(), resume_token: String::new() };
        resumed(open, *self.retry(), request).boxed()
    }

    /// Watches all operations of a location, or with `-` of all: those that have not ended, then each change, and heartbeats.
    /// It never ends by itself; a broken stream is resumed where it broke.
    pub fn watch_all(
        &self,
        parent: impl Into<String>,
    ) -> BoxStream<'static, Result<api::WatchPatchOperationsResponse>> {
        let client = self.clone();
        let open = move |request| {
            let (mut stub, request) = (client.patch_operations(), client.traced(request));
            async move { stub.watch_patch_operations(request).await.map(tonic::Response::into_inner) }
        };
        let request = api::WatchPatchOperationsRequest { parent: parent.into(), resume_token: String::new() };
        resumed(open, *self.retry(), request).boxed()
    }
}

/// How long the server has been away, and how often it was tried.
struct Absence {
    retry: Retry,
    failures: u32,
    since: Instant,
}

impl Absence {
    fn new(retry: Retry) -> Self {
        Self { retry, failures: 0, since: Instant::now() }
    }

    /// Sleeps before the next attempt, or gives the error back if it is final or has lasted too long.
    async fn endure(&mut self, error: Error) -> Result<()> {
        let transient = error.is_transient() || error.code() == Code::DeadlineExceeded;
        if !transient || self.since.elapsed() > PATIENCE {
            return Err(error);
        }
        self.failures += 1;
        let own = self.retry.backoff(self.failures, rand::random());
        sleep(error.retry_after().map_or(own, |asked| asked.max(own))).await;
        Ok(())
    }
}

/// What opens a watch, and what its messages say of it.
trait Opens: Clone {
    type Message;

    /// Where the next stream is to begin; empty: anew.
    fn resume_token(&mut self) -> &mut String;
    fn token_of(message: &Self::Message) -> &str;
    /// Whether the stream may end after this message.
    fn is_last(message: &Self::Message) -> bool;
}

impl Opens for api::WatchPatchOperationRequest {
    type Message = api::WatchPatchOperationResponse;

    fn resume_token(&mut self) -> &mut String {
        &mut self.resume_token
    }

    fn token_of(message: &Self::Message) -> &str {
        &message.resume_token
    }

    fn is_last(message: &Self::Message) -> bool {
        let operation = match &message.event {
            Some(Event::Snapshot(part)) => part.patch_operation.as_ref(),
            Some(Event::Update(update)) => update.patch_operation.as_ref(),
            _ => None,
        };
        operation.is_some_and(has_ended)
    }
}

impl Opens for api::WatchPatchOperationsRequest {
    type Message = api::WatchPatchOperationsResponse;

    fn resume_token(&mut self) -> &mut String {
        &mut self.resume_token
    }

    fn token_of(message: &Self::Message) -> &str {
        &message.resume_token
    }

    fn is_last(_: &Self::Message) -> bool {
        false
    }
}

/// A watch in progress.
struct Watch<R, S> {
    request: R,
    messages: Option<S>,
    absence: Absence,
    ended: bool,
}

/// One stream out of as many as it takes; `open` begins one.
fn resumed<R, S, F>(open: impl Fn(R) -> F, retry: Retry, request: R) -> impl Stream<Item = Result<R::Message>>
where
    R: Opens,
    S: Messages<R::Message>,
    F: Future<Output = Result<S, Status>>,
{
    let watch = Watch { request, messages: None, absence: Absence::new(retry), ended: false };
    stream::try_unfold((open, watch), move |(open, mut watch)| async move {
        loop {
            let messages = match &mut watch.messages {
                Some(messages) => messages,
                None => match open(watch.request.clone()).await {
                    Ok(messages) => watch.messages.insert(messages),
                    Err(status) => {
                        watch.broken(status).await?;
                        continue;
                    }
                },
            };
            let silent = || Status::unavailable("the watch has fallen silent");
            match timeout(SILENCE, messages.next()).await.unwrap_or_else(|_| Err(silent())) {
                Ok(Some(message)) => {
                    watch.saw(&message, retry);
                    return Ok(Some((message, (open, watch))));
                }
                Ok(None) if watch.ended => return Ok(None),
                Ok(None) => watch.broken(Status::unavailable("the watch ended before what it watches")).await?,
                Err(status) => watch.broken(status).await?,
            }
        }
    })
}

impl<R: Opens, S> Watch<R, S> {
    fn saw(&mut self, message: &R::Message, retry: Retry) {
        self.absence = Absence::new(retry);
        let token = R::token_of(message);
        if !token.is_empty() {
            token.clone_into(self.request.resume_token());
        }
        self.ended |= R::is_last(message);
    }

    /// Prepares the next stream after this one broke, or gives back the error if there can be none.
    async fn broken(&mut self, status: Status) -> Result<()> {
        self.messages = None;
        let error = Error::from(status);
        let token = self.request.resume_token();
        if error.reason() == Some("RESUME_TOKEN_EXPIRED") && !token.is_empty() {
            token.clear();
            return Ok(());
        }
        self.absence.endure(error).await
    }
}

/// What is asked of a stream of messages; the tests have one without a server.
trait Messages<M> {
    fn next(&mut self) -> impl Future<Output = Result<Option<M>, Status>> + Send;
}

impl<M: Send + 'static> Messages<M> for Streaming<M> {
    fn next(&mut self) -> impl Future<Output = Result<Option<M>, Status>> + Send {
        self.message()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt as _;
    use std::{
        collections::{HashMap, VecDeque},
        sync::Mutex,
    };
    use tonic_types::{ErrorDetails, StatusExt as _};

    type Message = api::WatchPatchOperationResponse;
    struct Script(VecDeque<Result<Message, Status>>);

    impl Messages<Message> for Script {
        async fn next(&mut self) -> Result<Option<Message>, Status> {
            self.0.pop_front().transpose()
        }
    }

    fn update(state: State, token: &str) -> Result<Message, Status> {
        let operation = PatchOperation { state: state.into(), ..Default::default() };
        let update = api::watch_patch_operation_response::Update { patch_operation: Some(operation), targets: vec![] };
        Ok(Message { event: Some(Event::Update(update)), resume_token: token.to_owned() })
    }

    /// Plays the streams one after the other; answers with the tokens asked for and the states seen.
    async fn play(streams: Vec<Result<Vec<Result<Message, Status>>, Status>>) -> (Vec<String>, Result<Vec<State>>) {
        let (streams, asked) = (Mutex::new(VecDeque::from(streams)), Mutex::new(Vec::new()));
        let watch = resumed(
            |request: api::WatchPatchOperationRequest| {
                asked.lock().unwrap().push(request.resume_token);
                let next = streams.lock().unwrap().pop_front().unwrap();
                async move { next.map(|messages| Script(messages.into())) }
            },
            Retry::default(),
            api::WatchPatchOperationRequest { name: "op".to_owned(), ..Default::default() },
        );
        let states = watch
            .map_ok(|message| match message.event {
                Some(Event::Update(update)) => update.patch_operation.unwrap().state(),
                other => unreachable!("{other:?}"),
            })
            .try_collect()
            .await;
        (asked.into_inner().unwrap(), states)
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_watch_resumes_with_the_last_token_and_ends_with_the_operation() {
        let (asked, states) = play(vec![
            Ok(vec![update(State::Running, "1"), Err(Status::unavailable("drain"))]),
            Err(Status::unavailable("restarting")),
            Ok(vec![update(State::Verifying, "2")]),
            Ok(vec![update(State::Succeeded, "3")]),
        ])
        .await;
        assert_eq!(asked, ["", "1", "1", "2"]);
        assert_eq!(states.unwrap(), [State::Running, State::Verifying, State::Succeeded]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_token_leads_to_a_new_snapshot() {
        let details = ErrorDetails::with_error_info("RESUME_TOKEN_EXPIRED", "patchplane.v1", HashMap::new());
        let expired = Status::with_error_details(Code::OutOfRange, "too old", details);
        let (asked, states) =
            play(vec![Ok(vec![update(State::Running, "1")]), Err(expired), Ok(vec![update(State::Failed, "9")])]).await;
        assert_eq!(asked, ["", "1", ""]);
        assert_eq!(states.unwrap(), [State::Running, State::Failed]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_the_watch_and_an_absence_of_ten_minutes_too() {
        let (_, refused) = play(vec![Err(Status::not_found("no such operation"))]).await;
        assert_eq!(refused.unwrap_err().code(), Code::NotFound);
        let (asked, away) = play(vec![Err(Status::unavailable("away")); 400]).await;
        assert_eq!(away.unwrap_err().code(), Code::Unavailable);
        assert!(asked.len() > 100, "{}", asked.len());
    }
}
