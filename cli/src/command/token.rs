//! `kapelle token …`: API tokens, made and revoked over the API; or made straight at the broker, which is how the first
//! one comes into being.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use kapelle_bus::Bus;
use kapelle_bus::tokens::{Tokens, Wanted};
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::{Namespace, Principal, Role, Timestamp, TokenName, limits};

use super::fleet::since;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Table, bold, dim};
use crate::stack::{Address, COMMAND_PATIENCE, NatsTls};
use crate::view;

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Commands and clients show a token as KAPELLE_TOKEN, or as `authorization: Bearer …`. It is stored as a
hash alone: what `create` prints is never shown again.

The first token is made at the broker itself, by whoever holds its credentials:
  kapelle token create root --role admin --nats-url nats://…")]
pub(crate) enum Verb {
    /// Make a token and print it, this once
    Create(Create),
    /// The tokens of your namespace, those that have ended included
    List,
    /// End a token at once, everywhere
    Revoke {
        /// Its id, as `kapelle token list` shows it
        id: String,
    },
}

/// A token to make.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is called. Tokens of one name are one principal: make the next before you revoke the last
    name: TokenName,
    /// What its holder may be: viewer, publisher, operator, approver, auditor or admin; repeat it for more
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<Role>,
    /// Let its holder read payloads: inputs, outputs, what agents say
    #[arg(long)]
    sees_payloads: bool,
    /// The person behind it. Default: nobody
    #[arg(long)]
    person: Option<String>,
    /// How long it lives, 366 days at most
    #[arg(long, default_value = "90d", value_name = "DURATION", value_parser = life)]
    expires_in: Duration,
    /// Make it straight at this broker, with its credentials instead of a token. Default: ask the coordinator
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// A NATS credentials file, for --nats-url. Default: none
    #[arg(long, env = "KAPELLE_NATS_CREDS", hide_env_values = true, value_name = "FILE")]
    nats_creds: Option<PathBuf>,
    #[command(flatten)]
    nats_tls: NatsTls,
    /// The namespace that its holder belongs to, for --nats-url; over the API it is your own. Default: the one of
    /// the NATS credentials, or default
    #[arg(long, requires = "nats_url")]
    namespace: Option<Namespace>,
}

/// `kapelle token …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::Create(args) => create(app, args).await?,
        Verb::List => list(app).await?,
        Verb::Revoke { id } => revoke(app, id).await?,
    }
    Ok(Exit::Ok)
}

async fn create(app: &App, mut args: Create) -> Result<(), Failure> {
    let made = match args.nats_url.take() {
        Some(nats_url) => at_the_broker(nats_url, args).await?,
        None => at_the_coordinator(app, args).await?,
    };
    app.output.show(&made, |made| {
        let how = format!("export KAPELLE_TOKEN={}", made.token);
        format!("{}\n\n{}", page(&made.about), bold(&how)) + &format!("\n{}", dim("It is not shown again."))
    })
}

async fn at_the_coordinator(app: &App, args: Create) -> Result<view::MadeToken, Failure> {
    let client = app.client().await?;
    let request = v1::CreateTokenRequest {
        name: args.name.to_string(),
        roles: args.roles.iter().map(ToString::to_string).collect(),
        sees_payloads: args.sees_payloads,
        person: args.person.unwrap_or_default(),
        life_seconds: args.expires_in.as_secs(),
    };
    let made = client.tokens().create(request).await.map_err(|s| client.failure(s))?.into_inner();
    Ok(view::MadeToken { token: made.token, about: made.view.unwrap_or_default().into() })
}

async fn at_the_broker(nats_url: String, args: Create) -> Result<view::MadeToken, Failure> {
    let address = Address { nats_url, nats_creds: args.nats_creds, nats_tls: args.nats_tls };
    let own = address.credentials()?.and_then(|credentials| credentials.namespace());
    let bus = Bus::open(address.connect("kapelle-token", COMMAND_PATIENCE).await?).await?;
    let wanted = Wanted {
        name: args.name,
        roles: args.roles.into_iter().collect(),
        namespace: args.namespace.or(own).unwrap_or_default(),
        sees_payloads: args.sees_payloads,
        person: args.person,
        life: args.expires_in,
        created_by: Principal("broker".into()),
    };
    let now = clock::now();
    let (secret, record) = Tokens::open(&bus).await?.create(wanted, now).await?;
    Ok(view::MadeToken { token: secret.reveal().to_owned(), about: record.view(now).into() })
}

async fn list(app: &App) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.tokens().list(v1::ListTokensRequest {}).await.map_err(|s| client.failure(s))?;
    let tokens: Vec<view::Token> = answer.into_inner().tokens.into_iter().map(Into::into).collect();
    app.output.show(&tokens, |tokens| table(tokens, clock::now()))
}

async fn revoke(app: &App, id: String) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.tokens().revoke(v1::RevokeTokenRequest { id }).await.map_err(|s| client.failure(s))?;
    app.output.show(&view::Token::from(answer.into_inner()), page)
}

/// Reads how long a token lives.
fn life(text: &str) -> Result<Duration, String> {
    let life = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if life.as_secs() == 0 || life > limits::TOKEN_LIFE_MAX {
        return Err("1s to 366d are possible".to_owned());
    }
    Ok(life)
}

fn page(token: &view::Token) -> String {
    let line = |name: &str, value: &str| format!("{name:<10} {value}\n");
    let mut text = line("id", &token.id) + &line("name", &token.name) + &line("roles", &token.roles.join(" "));
    text += &line("namespace", &token.namespace);
    text += &line("payloads", if token.sees_payloads { "visible" } else { "hidden" });
    if let Some(person) = &token.person {
        text += &line("person", person);
    }
    text += &line("state", &token.state);
    text += &line("expires", token.expires_at.as_deref().unwrap_or("-"));
    text.trim_end().to_owned()
}

fn table(tokens: &[view::Token], now: Timestamp) -> String {
    let mut table = Table::new(&["id", "name", "state", "roles", "payloads", "age", "expires", "made by"]);
    for t in tokens {
        let payloads = if t.sees_payloads { "visible" } else { "hidden" };
        let expires = t.expires_at.clone().unwrap_or_default();
        let expires = expires.split('T').next().unwrap_or_default().to_owned();
        let age = since(t.created_at.as_deref(), now);
        let row = [&t.id, &t.name, &t.state, &t.roles.join(" "), payloads, &age, &expires, &t.created_by];
        table.row(row.map(str::to_owned));
    }
    table.render("No tokens.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> view::Token {
        view::Token::from(v1::TokenView {
            id: "0011223344556677".into(),
            name: "ci".into(),
            roles: vec!["publisher".into(), "viewer".into()],
            namespace: "default".into(),
            sees_payloads: false,
            person: "ada@example.com".into(),
            created_by: "token:root".into(),
            created_at_unix_nanos: 1_000_000,
            expires_at_unix_nanos: 7_776_000_000_000_000,
            revoked_at_unix_nanos: 0,
            state: "active".into(),
        })
    }

    #[test]
    fn a_token_is_described_without_its_secret() {
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        insta::assert_snapshot!("token", plain(page(&token())));
        insta::assert_snapshot!("tokens", plain(table(&[token()], Timestamp::from_millis(600_000))));
        assert_eq!(table(&[], Timestamp::from_millis(0)), "No tokens.");
    }

    #[test]
    fn a_token_lives_for_a_while_and_not_for_ever() {
        assert_eq!(life("90d"), Ok(limits::TOKEN_LIFE_DEFAULT));
        for bad in ["0s", "367d", "soon", ""] {
            assert!(life(bad).is_err(), "{bad}");
        }
    }
}
