//! `kapelle bench`: what the product costs beside bare JetStream.

use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::shutdown::Signals;

pub(crate) async fn run(app: &App, args: &kapelle_bench::Args) -> End {
    let mut signals = Signals::listen()?;
    // Whoever ends it ends the broker and the other processes that it started.
    let result = tokio::select! {
        result = kapelle_bench::run(args) => result.map_err(|e| Failure::plain(Exit::Failed, format!("{e:#}")))?,
        () = signals.next() => return Err(Failure::plain(Exit::Failed, "Ended before it was measured.")),
    };
    if let Some(result) = result {
        app.output.show(&result, kapelle_bench::Outcome::table)?;
    }
    Ok(Exit::Ok)
}
