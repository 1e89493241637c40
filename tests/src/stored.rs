//! Stores for tests: in a file or in a PostgreSQL of a test's own, and operations to put into them.

use crate::postgres::Postgres;
use jiff::Timestamp;
use patchplane_rules::{InstanceId, Location};
use patchplane_server::{
    domain::operation::{
        Dispatch, DispatchOutcome, InstanceLimit, Kind, OnBusy, Operation, OperationId, Origin, Spec, State, Target,
        TargetSelection,
    },
    store::{CrashPoint, Error, Place, Store},
};
use std::time::Duration;
use tempfile::TempDir;
use ulid::Ulid;

/// A lease that does not end during a test.
pub const LEASE: Duration = Duration::from_secs(3600);
/// A lease that has ended when the next write begins.
pub const OVER: Duration = Duration::ZERO;

/// Makes a test for each database of functions that take a [`Db`].
#[macro_export]
macro_rules! on_each_database {
    ($($promise:ident,)+) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise($crate::stored::Db::file()).await;
            })+
        }

        mod postgresql {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise($crate::stored::Db::postgres()).await;
            })+
        }
    };
}

/// Where a test's store is kept.
pub enum Db {
    File(TempDir),
    Postgres(Postgres),
}

impl Db {
    pub fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub fn postgres() -> Self {
        Self::Postgres(Postgres::new())
    }

    pub fn place(&self) -> Place {
        match self {
            Self::File(folder) => Place::File(folder.path().join("patchplane.db")),
            Self::Postgres(postgres) => postgres.place(),
        }
    }

    pub async fn open(&self) -> Store {
        self.try_open(None).await.unwrap()
    }

    pub async fn try_open(&self, crash: Option<CrashPoint>) -> Result<Store, Error> {
        Store::open(self.place(), crash).await
    }
}

pub fn now() -> Timestamp {
    "2025-11-24T00:00:00Z".parse().unwrap()
}

pub fn location() -> Location {
    Location::new("123456789012", "us-east-1").unwrap()
}

pub fn instance(n: usize) -> InstanceId {
    format!("i-{n:017x}").parse().unwrap()
}

/// The n-th operation.
pub fn operation(n: u64) -> Operation {
    Operation {
        id: OperationId::Ours(Ulid::from_parts(n, u128::from(n))),
        location: location(),
        spec: Spec {
            kind: Kind::Install,
            targets: TargetSelection { all_managed: true, ..TargetSelection::default() },
            reboot_option: None,
            concurrency: InstanceLimit::Percent(10),
            max_failures: InstanceLimit::Percent(5),
            max_duration: Spec::DEFAULT_MAX_DURATION,
            max_targets: 500,
            on_busy: OnBusy::Wait,
            override_freeze: false,
            note: "héllo 'quoted' \u{0} ?".to_owned(),
        },
        state: State::Running,
        reason: String::new(),
        explanation: "begun".into(),
        snapshot_id: "11111111-2222-3333-4444-555555555555".into(),
        snapshot_time: None,
        creator: "local:0".into(),
        create_time: now(),
        update_time: now(),
        end_time: None,
        deadline: now() + Spec::DEFAULT_MAX_DURATION,
        origin: Origin::Patchplane,
        retry_of: None,
        drift: Vec::new(),
        trace: None,
    }
}

pub async fn put(store: &Store, operation: &Operation, targets: &[Target]) {
    let mut tx = store.begin().await.unwrap();
    tx.put_operation(operation).await.unwrap();
    tx.put_targets(operation.id, targets).await.unwrap();
    tx.commit().await.unwrap();
}

pub fn sent(batch: u32, command_id: &str) -> Dispatch {
    Dispatch {
        batch,
        attempt: 1,
        marker: "pp:1".into(),
        snapshot_id: String::new(),
        instance_ids: vec![instance(1)],
        timeout_s: 600,
        signed_at: now(),
        outcome: DispatchOutcome::Sent { command_id: command_id.into(), expires_after: None },
    }
}
