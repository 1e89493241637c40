//! A way to a PostgreSQL on which the answer to a commit can be kept back: for the database it is done, and the process that
//! waits for it stands still, as one does that is stopped at that moment.

use crate::postgres::Postgres;
use patchplane_server::store::Place;
use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

const SOCKET: &str = ".s.PGSQL.5432";

pub struct Wire {
    folder: TempDir,
    /// The socket of the PostgreSQL.
    server: String,
    database: String,
    gate: Arc<Gate>,
    /// While it is open.
    carried: Mutex<Option<AbortHandle>>,
}

/// What is on its way to an answer that is kept back.
struct Gate {
    /// The commit after a statement with this in it is meant; empty: none.
    mark: watch::Sender<&'static str>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Held,
}

impl Wire {
    pub fn to(postgres: &Postgres) -> Self {
        let wire = Self::shut(postgres);
        wire.open();
        wire
    }

    /// One on which nobody answers until it is opened.
    pub fn shut(postgres: &Postgres) -> Self {
        let Place::Postgres(url) = postgres.place() else { panic!("{:?} is no PostgreSQL", postgres.place()) };
        let (database, rest) = url.strip_prefix("postgres:///").unwrap().split_once("?host=").unwrap();
        let server = format!("{}/{SOCKET}", rest.split_once('&').unwrap().0);
        let gate = Arc::new(Gate { mark: watch::Sender::new(""), state: watch::Sender::new(State::Open) });
        let folder = tempfile::tempdir().unwrap();
        Self { folder, server, database: database.to_owned(), gate, carried: Mutex::default() }
    }

    pub fn open(&self) {
        let listener = UnixListener::bind(self.folder.path().join(SOCKET)).unwrap();
        let (gate, server) = (Arc::clone(&self.gate), self.server.clone());
        let carried = tokio::spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.unwrap();
                carry(client, server, &gate, &mut carried);
            }
        });
        *self.carried.lock().unwrap() = Some(carried.abort_handle());
    }

    /// Breaks all connections off, and takes no more until it is opened again.
    pub fn cut(&self) {
        self.carried.lock().unwrap().take().unwrap().abort();
        fs::remove_file(self.folder.path().join(SOCKET)).unwrap();
    }

    pub fn place(&self) -> Place {
        format!("postgres:///{}?host={}&user=patchplane", self.database, self.folder.path().display()).parse().unwrap()
    }

    /// Keeps back the answer to the next commit of a transaction with this text in it.
    pub fn keep_back(&self, mark: &'static str) {
        self.gate.mark.send_replace(mark);
    }

    /// Waits until that commit is done, and its answer is kept back.
    pub async fn keeps_back(&self) {
        self.gate.state.subscribe().wait_for(|state| *state == State::Held).await.unwrap();
    }

    pub fn let_go(&self) {
        self.gate.state.send_replace(State::Open);
    }
}

/// Carries bytes both ways, and keeps those back that answer the commit that is meant.
fn carry(client: UnixStream, server: UnixStream, gate: &Arc<Gate>, carried: &mut JoinSet<()>) {
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let here = Arc::new(AtomicBool::new(false));
    let (gate, meant) = (Arc::clone(gate), Arc::clone(&here));
    let mut written = false;
    let asked = {
        let gate = Arc::clone(&gate);
        move |bytes: &[u8]| {
            let mark = *gate.mark.borrow();
            written |= !mark.is_empty() && contains(bytes, mark);
            if written && contains(bytes, "COMMIT") {
                written = false;
                gate.mark.send_replace("");
                meant.store(true, Ordering::SeqCst);
            }
            None
        }
    };
    let answered = move |_: &[u8]| {
        here.swap(false, Ordering::SeqCst).then(|| {
            gate.state.send_replace(State::Held);
            gate.state.subscribe()
        })
    };
    carried.spawn(pump(from_client, to_server, asked));
    carried.spawn(pump(from_server, to_client, answered));
}

/// Carries bytes one way; where `look` gives a state they wait until that is open.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut look: impl FnMut(&[u8]) -> Option<watch::Receiver<State>>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(mut state) = look(&buffer[..length]) {
            state.wait_for(|state| *state == State::Open).await.unwrap();
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
