//! `kapelle bench`: what the product costs beside bare JetStream.

use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;

pub(crate) async fn run(app: &App, args: &kapelle_bench::Args) -> End {
    let result = kapelle_bench::run(args).await.map_err(|e| Failure::plain(Exit::Failed, format!("{e:#}")))?;
    if let Some(result) = result {
        app.output.show(&result, kapelle_bench::Outcome::table)?;
    }
    Ok(Exit::Ok)
}
