//! `patchplane iam`: what AWS must allow, to be printed and handed to whoever grants it.

use anyhow::bail;
use clap::{Args, Subcommand};
use patchplane_aws::iam::{Document, LARGEST_POLICY, Scope, policy, trust_of_role, trust_of_service_account};
use patchplane_server::iam::{cloud_formation, json_text};

#[derive(Subcommand)]
pub(crate) enum IamCommand {
    /// Print a policy for the role of an account.
    Policy(Policy),
    /// Print who may become the role.
    #[command(subcommand)]
    Trust(Trust),
    /// Print a CloudFormation template of the role, with a parameter for each use.
    Cloudformation,
}

#[derive(Args)]
#[command(after_help = POLICY_HELP)]
pub(crate) struct Policy {
    /// What it is for; may be repeated. Unset: everything that the role of an account can need.
    #[arg(long = "for", value_name = "USE", value_parser = document)]
    uses: Vec<Document>,
    /// Only nodes with this tag get commands.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    node_tag: Option<(String, String)>,
    /// aws, aws-cn or aws-us-gov.
    #[arg(long, default_value = "aws")]
    partition: String,
    /// With --for assume-role: a role that may be assumed; may be repeated.
    #[arg(long, value_name = "ARN", default_value = "arn:aws:iam::*:role/patchplane")]
    role: Vec<String>,
}

const POLICY_HELP: &str = "\
Uses:
  read-only     look: instances, baselines, compliance, history, readiness; everything else stands beside it
  patch         scan, install and cancel (also: scan, install; IAM cannot tell them apart, both run AWS-RunPatchBaseline)
  reboot        reboots of their own, by AWS-RunShellScript and AWS-RunPowerShellScript: whoever has it may run any script
  baselines     make, change and delete baselines, choose defaults
  patch-groups  attach baselines to patch groups
  members       put instances into patch groups: their tags, and no other ones
  schedules     patch schedules: maintenance windows
  assume-role   for the process itself, where locations have a role_arn

  patchplane iam policy --for read-only --for scan > policy.json
  aws iam create-policy --policy-name patchplane --policy-document file://policy.json";

#[derive(Subcommand)]
pub(crate) enum Trust {
    /// A service account of Kubernetes, by the cluster's OIDC provider (IAM roles for service accounts).
    ServiceAccount {
        /// The issuer without https://, such as oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE.
        #[arg(long)]
        provider: String,
        /// The account in which the provider is registered.
        #[arg(long)]
        account: String,
        #[arg(long, default_value = "patchplane")]
        namespace: String,
        #[arg(long, default_value = "patchplane")]
        name: String,
        #[arg(long, default_value = "aws")]
        partition: String,
    },
    /// Another role, which must know an external id: the same as external_id of the location.
    Role {
        /// The role that patchplane runs with.
        #[arg(long)]
        principal: String,
        #[arg(long)]
        external_id: String,
    },
}

pub(crate) fn run(command: IamCommand) -> anyhow::Result<()> {
    match command {
        IamCommand::Policy(Policy { uses, node_tag, partition, role }) => {
            let all = || Document::ALL.into_iter().filter(|document| *document != Document::AssumeRole).collect();
            let mut uses = if uses.is_empty() { all() } else { uses };
            uses.sort_unstable();
            uses.dedup();
            let text = json_text(&policy(&uses, &Scope { partition, node_tag, roles: role }));
            let length = text.chars().filter(|character| !character.is_whitespace()).count();
            if length > LARGEST_POLICY {
                bail!(
                    "{length} characters are more than the {LARGEST_POLICY} of a managed policy: print it in parts with --for"
                );
            }
            print!("{text}");
        }
        IamCommand::Trust(Trust::ServiceAccount { provider, account, namespace, name, partition }) => {
            print!("{}", json_text(&trust_of_service_account(&partition, &account, &provider, &namespace, &name)));
        }
        IamCommand::Trust(Trust::Role { principal, external_id }) => {
            print!("{}", json_text(&trust_of_role(&principal, &external_id)));
        }
        IamCommand::Cloudformation => print!("{}", cloud_formation()?),
    }
    Ok(())
}

fn document(text: &str) -> Result<Document, String> {
    let name = if ["scan", "install"].contains(&text) { "patch" } else { text };
    let known = Document::ALL.map(Document::name).join(", ");
    let found = Document::ALL.into_iter().find(|document| document.name() == name);
    found.ok_or_else(|| format!("is none of {known}"))
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
