//! State Manager's associations that scan and patch, such as the console's Patch now, and the commands of their runs (S 11.2).

use crate::{
    Aws, ErrorKind, Page, PageOf, Result,
    calls::{DESCRIBE_ASSOCIATION_EXECUTION_TARGETS, DESCRIBE_ASSOCIATION_EXECUTIONS, LIST_ASSOCIATIONS},
    commands::PATCH_DOCUMENTS,
    page, values,
};
use aws_sdk_ssm::types;
use jiff::Timestamp;

/// A run of an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociationRun {
    /// AWS's id of the execution, a UUID.
    pub id: String,
    pub association_id: String,
    pub created: Option<Timestamp>,
    /// Whether AWS says that it is over.
    pub ended: bool,
}

impl Aws {
    /// The runs that began since then of the associations that are there now and scan or patch.
    pub async fn patch_association_runs(&self, since: Timestamp) -> Result<Vec<AssociationRun>> {
        let mut runs = Vec::new();
        for document in PATCH_DOCUMENTS {
            for (association, last_run) in self.associations_of(document).await? {
                // What has never run has no date.
                if last_run.is_some_and(|last_run| last_run >= since) {
                    runs.extend(self.association_runs(&association, since).await?);
                }
            }
        }
        Ok(runs)
    }

    /// The associations of a document, each with the date of its last run.
    async fn associations_of(&self, document: &str) -> Result<Vec<(String, Option<Timestamp>)>> {
        let filter = types::AssociationFilter::builder().key(types::AssociationFilterKey::Name).value(document);
        let filter = LIST_ASSOCIATIONS.built(filter.build())?;
        page::all(&LIST_ASSOCIATIONS, async |page: Page| {
            let request = self.ssm().list_associations().association_filter_list(filter.clone());
            let request = request.max_results(page.size_within(1..=50)).set_next_token(page.token);
            let answer = self.ask(&LIST_ASSOCIATIONS, request.send()).await?;
            let rows = answer.associations().iter();
            let rows =
                rows.map(|row| (values::text(row.association_id()), values::timestamp(row.last_execution_date())));
            Ok(PageOf::new(rows.collect(), answer.next_token))
        })
        .await
    }

    /// The runs of one association that began since then; none where it is gone.
    pub async fn association_runs(&self, association_id: &str, since: Timestamp) -> Result<Vec<AssociationRun>> {
        // The form of times in the CLI's example of describe-association-executions; not before, to the second.
        let after = (since - jiff::SignedDuration::from_secs(1)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let filter = types::AssociationExecutionFilter::builder()
            .key(types::AssociationExecutionFilterKey::CreatedTime)
            .r#type(types::AssociationFilterOperatorType::GreaterThan)
            .value(after);
        let filter = DESCRIBE_ASSOCIATION_EXECUTIONS.built(filter.build())?;
        let all = page::all(&DESCRIBE_ASSOCIATION_EXECUTIONS, async |page: Page| {
            let request = self.ssm().describe_association_executions().association_id(association_id);
            let request = request.filters(filter.clone());
            let request = request.max_results(page.size_within(1..=50)).set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_ASSOCIATION_EXECUTIONS, request.send()).await?;
            let rows = answer.association_executions().iter().map(|row| run(association_id, row));
            Ok(PageOf::new(rows.collect(), answer.next_token))
        });
        or_none(all.await)
    }

    /// The ids of the commands that a run has sent so far.
    pub async fn association_commands(&self, run: &AssociationRun) -> Result<Vec<String>> {
        let all = page::all(&DESCRIBE_ASSOCIATION_EXECUTION_TARGETS, async |page: Page| {
            let request = self
                .ssm()
                .describe_association_execution_targets()
                .association_id(&run.association_id)
                .execution_id(&run.id)
                .max_results(page.size_within(1..=50))
                .set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_ASSOCIATION_EXECUTION_TARGETS, request.send()).await?;
            let sources = answer.association_execution_targets().iter().filter_map(|target| target.output_source());
            let commands = sources.filter(|source| source.output_source_type() == Some("RunCommand"));
            let ids = commands.map(|source| values::text(source.output_source_id())).filter(|id| !id.is_empty());
            Ok(PageOf::new(ids.collect(), answer.next_token))
        });
        let mut ids = or_none(all.await)?;
        ids.sort();
        ids.dedup();
        Ok(ids)
    }
}

/// What is gone by now has nothing.
fn or_none<T>(listed: Result<Vec<T>>) -> Result<Vec<T>> {
    match listed {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

fn run(association_id: &str, row: &types::AssociationExecution) -> AssociationRun {
    AssociationRun {
        id: values::text(row.execution_id()),
        association_id: association_id.to_owned(),
        created: values::timestamp(row.created_time()),
        ended: !matches!(row.status(), Some("Pending" | "InProgress")),
    }
}
