//! The command line as users type it: what is understood, what is refused, and every command's help.

use clap::{CommandFactory, Parser};

use super::Cli;

fn refused(line: &str) -> bool {
    Cli::try_parse_from(line.split_whitespace()).is_err()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

/// What scripts use.
const USED: &[&str] = &[
    "kapelle dev",
    "kapelle dev --data-dir d --durability power --nats-url nats://h:4222",
    "kapelle dev --nats-port 0 --grpc-address 127.0.0.1:0 --metrics-address 127.0.0.1:0 --agents a b --slots 4",
    "kapelle apply -f manifests",
    "kapelle apply -f a.yaml -f - -o json",
    "kapelle plan -f a.yaml -f -",
    "kapelle diff -f manifests -o yaml",
    "kapelle run execute intake --input in.json --key k -o json",
    "kapelle -o json run execute intake --input - --wait 90s --label team=legal --version ^1",
    "kapelle run start intake",
    "kapelle agent check",
    "kapelle agent check -f examples -f - -o json",
    "kapelle agent onboard agents/count --owner o --purpose p --risk minimal --yes",
    "kapelle agent onboard https://h/a.tar.gz --sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad --into d",
    "kapelle agent onboard d --plan --command ./run --protocol once --timeout 5m --folder project=. --sandbox off",
    "kapelle agent onboard d --write --name n --version 1.1.0 --responsibility r --capability a --capability b -o json",
    "kapelle agent card inventory@1.0.0 --url https://h/a2a",
    "kapelle agent impact inventory@1.0.0 -o json",
    "kapelle run list --status STALLED --status failed --workflow intake -n 5",
    "kapelle run retry r --step review:17",
    "kapelle run cancel r --reason because",
    "kapelle run restart r --latest --key k",
    "kapelle run fork r --from score --input in.json --latest -o json",
    "kapelle run why r -o json",
    "kapelle run query r total -o json",
    "kapelle run update r change-address --payload {} --id u1 --wait 30s -o json",
    "kapelle run watch r",
    "kapelle run watch r --text --step review:17 -o json",
    "kapelle run list --label team=legal --older-than 2d",
    "kapelle run list --parent 0192f3c4-5a6b-7c8d-9e0f-112233445566",
    "kapelle run bulk cancel --status RUNNING --workflow intake --label team=legal --older-than 2h --limit 5 --yes",
    "kapelle run bulk retry --all --id op-1 --yes -o json",
    "kapelle run bulk restart --status FAILED --latest",
    "kapelle run bulk fork --status FAILED --from score --latest --yes",
    "kapelle run bulk signal --name approved --payload {} --workflow orders --yes",
    "kapelle run bulk query --name total --all --yes -o json",
    "kapelle dlq discard --match timeout --yes",
    "kapelle schedule create -f schedules --dry-run -o json",
    "kapelle release list -o json",
    "kapelle release describe review --kind workflow",
    "kapelle release set-current review@1.0.0 --why because --dry-run",
    "kapelle release set-ramping review@2.0.0 --percentage 12.5 --ignore-missing-workers",
    "kapelle release promote review",
    "kapelle release rollback review --why bad -o json",
    "kapelle release clear review --force --why because",
    "kapelle schedule pause nightly --note because",
    "kapelle schedule backfill nightly --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z",
    "kapelle dlq discard --agent a --older-than 2d --yes",
    "kapelle dlq replay --run r --step s --dry-run",
    "kapelle coordinator start --partitions 8 --replicas 3 --id c-1 --nats-creds f --tasks memory",
    "kapelle policy list",
    "kapelle policy validate -f policies -f more.cedar",
    "kapelle policy explain --role viewer --role publisher --action kapelle.v1.RunService/Cancel --own -o json",
    "kapelle policy explain --role viewer --action see_payloads --sees-payloads --namespace a --of b --person ada",
    "kapelle policy check -f policies",
    "kapelle policy test recorded.yaml -f policies",
    "kapelle policy permissions --role worker --agent echo@1.0.0 --agent sum@2.0.0 --id w-1 --inbox _INBOX_w-1",
    "kapelle policy apply -f policies --why because -o json",
    "kapelle policy history -n 5",
    "kapelle policy rollback 3 --why because",
    "kapelle policy proposals",
    "kapelle policy approve 0011223344556677",
    "kapelle audit tail --component api -o json",
    "kapelle audit search --verb denied --principal token:ci --decision deny --since 2h --until 2026-11-22T08:00:00Z -n 10",
    "kapelle worker start --agents examples --slots 4 --id w-1",
    "kapelle worker list -o yaml",
    "kapelle doctor --nats-url nats://127.0.0.1:4222 -o json",
    "kapelle demo --input package-lock.json",
    "kapelle --address http://h:1 -vv queue list",
    "kapelle token create ci --role publisher --role viewer --expires-in 30d --token kpl_x",
    "kapelle token create root --role admin --sees-payloads --nats-url nats://h --namespace legal",
    "kapelle coordinator start --identity i.yaml --tls-cert c --tls-key k --tls-client-ca ca",
    "kapelle --address https://h:1 --tls-ca ca run list",
    "kapelle token create root --role admin --nats-url tls://h --nats-creds f --nats-ca ca --nats-cert c --nats-key k",
    "kapelle coordinator start --nats-creds f --nats-ca ca --nats-cert c --nats-key k",
    "kapelle broker init --operator-dir d --name acme --accounts-dir /a",
    "kapelle namespace create legal --storage 10GiB --memory 64MiB --connections 5 --streams 40 --consumers 9 --partitions 4",
    "kapelle namespace list --operator-dir d -o json",
    "kapelle namespace describe legal --nats-url tls://h --nats-ca ca",
    "kapelle namespace update legal --storage 20GiB",
    "kapelle namespace push",
    "kapelle namespace push legal",
    "kapelle namespace delete legal --yes",
    "kapelle namespace delete legal --force legal",
    "kapelle credentials issue worker --namespace legal --name w1 --agent a@1.0.0 --agent b@2.0.0 --out f --expires-in 7d",
    "kapelle credentials issue coordinator --name c1 --out f",
    "kapelle credentials issue worker --name w1 --agent a@1.0.0 --unregistered --out f",
    "kapelle credentials list --namespace legal",
    "kapelle credentials revoke w1",
    "kapelle token list",
    "kapelle token revoke 0011223344556677",
];

#[test]
fn what_scripts_use_is_understood() {
    for line in USED {
        assert!(!refused(line), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "kapelle",
        "kapelle run",
        "kapelle run watch r --step review",
        "kapelle apply",
        "kapelle plan",
        "kapelle diff",
        "kapelle agent onboard",
        "kapelle agent onboard d --risk unacceptable",
        "kapelle agent onboard d --name Count",
        "kapelle agent onboard d --version 1",
        "kapelle agent onboard d --protocol grpc",
        "kapelle agent onboard https://h/a.tar.gz --sha256 abc",
        "kapelle dev --durability some",
        "kapelle dev --partitions 0",
        "kapelle dev --slots 0",
        "kapelle dev --nats-url nats://h --nats-server /bin/x",
        "kapelle run start",
        "kapelle run start w --label nonsense",
        "kapelle run execute w --wait soon",
        "kapelle run list --status DONE",
        "kapelle run fork r",
        "kapelle run bulk",
        "kapelle run bulk sing --all",
        "kapelle run bulk cancel --all --limit 0",
        "kapelle dlq replay --step s",
        "kapelle worker start",
        "kapelle coordinator start --replicas 6",
        "kapelle policy explain --role root --action x",
        "kapelle policy explain --role viewer",
        "kapelle policy permissions",
        "kapelle policy permissions --role worker --agent echo",
        "kapelle queue list -o xml",
        "kapelle token create",
        "kapelle token create ci",
        "kapelle token create ci --role king",
        "kapelle token create CI --role viewer",
        "kapelle token create ci --role viewer --expires-in 2y",
        "kapelle token create ci --role viewer --namespace legal",
        "kapelle coordinator start --nats-cert c",
        "kapelle namespace create",
        "kapelle namespace create Legal",
        "kapelle namespace create legal --storage 10GB",
        "kapelle namespace create legal --connections 0",
        "kapelle credentials issue king --name k --out f",
        "kapelle credentials issue worker --agent a@1.0.0 --out f",
        "kapelle credentials issue worker --name w.1 --agent a@1.0.0 --out f",
        "kapelle credentials issue worker --name w1 --agent a --out f",
        "kapelle credentials issue coordinator --name c1 --out f --expires-in 2y",
        "kapelle credentials revoke",
        "kapelle sing",
    ] {
        assert!(refused(line), "{line}");
    }
}

/// Help is read by people: a change of it is seen in review.
#[test]
fn help_reads_well() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    let _bound = settings.bind_to_scope();
    for path in [
        "",
        "demo",
        "dev",
        "doctor",
        "plan",
        "diff",
        "apply",
        "agent",
        "agent onboard",
        "workflow",
        "run",
        "run start",
        "run execute",
        "run list",
        "run retry",
        "run watch",
        "run fork",
        "run bulk",
        "dlq",
        "dlq replay",
        "release",
        "release set-ramping",
        "policy",
        "policy explain",
        "policy permissions",
        "queue",
        "token",
        "token create",
        "broker init",
        "namespace",
        "namespace create",
        "namespace delete",
        "credentials",
        "credentials issue",
        "worker start",
        "coordinator start",
    ] {
        let mut command = Cli::command().term_width(110);
        command.build();
        let mut found = &mut command;
        for name in path.split_whitespace() {
            found = found.find_subcommand_mut(name).unwrap();
        }
        let name = if path.is_empty() { "kapelle".to_owned() } else { path.replace(' ', "_") };
        insta::assert_snapshot!(name, found.render_help().to_string());
    }
}

/// Every flag says what it does, and what happens without it.
#[test]
fn every_flag_documents_its_default() {
    fn walk(command: &clap::Command) {
        for arg in command.get_arguments().filter(|a| !a.is_positional() && !a.is_global_set()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let flag = format!("{} --{}", command.get_name(), arg.get_id());
            assert!(!help.is_empty(), "{flag} says nothing");
            let takes_value = arg.get_action().takes_values() && !matches!(arg.get_id().as_str(), "help" | "version");
            let is_filter =
                help.starts_with("Only ") || help.contains("repeat it for more") || help.contains("idempotency key");
            let told =
                !arg.get_default_values().is_empty() || help.contains("Default:") || arg.is_required_set() || is_filter;
            assert!(!takes_value || told || help.starts_with("With --run"), "{flag} does not say its default: {help}");
        }
        // The benchmark documents its own.
        command.get_subcommands().filter(|c| c.get_name() != "bench").for_each(walk);
    }
    walk(&Cli::command());
}
