//! The result for people.

use std::fmt::Write;

use crate::measure::{Half, median};
use crate::rounds::Comparison;

impl Comparison {
    /// The figures as a table, floor beside product.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = table(&mut out, self);
        out
    }
}

fn table(out: &mut String, result: &Comparison) -> std::fmt::Result {
    writeln!(
        out,
        "bench {}: {} runs × {} steps, {} in flight, {} bytes, durability {}, {} partitions, {} rounds, governance {}",
        result.benchmark,
        result.runs,
        result.steps,
        result.in_flight,
        result.payload_bytes,
        result.durability,
        result.partitions,
        result.rounds.len(),
        result.governance
    )?;
    writeln!(out, "{}\n", result.layout)?;
    writeln!(out, "{:<28}{:>12}{:>12}{:>10}", "", "floor", "product", "ratio")?;
    let mut line = |name: &str, of: &dyn Fn(&Half) -> f64, digits: usize| {
        let floor = median(result.rounds.iter().map(|r| of(&r.floor)));
        let product = median(result.rounds.iter().map(|r| of(&r.product)));
        let ratio = median(result.rounds.iter().map(|r| of(&r.product) / of(&r.floor)));
        writeln!(out, "{name:<28}{floor:>12.digits$}{product:>12.digits$}{ratio:>10.2}")
    };
    line("steps/s", &|h| h.steps_per_second, 0)?;
    line("latency of a run p50, ms", &|h| h.latency_p50_ms, 2)?;
    line("latency of a run p99, ms", &|h| h.latency_p99_ms, 2)?;
    if result.ratio_cpu.is_some() {
        line("CPU s per 1,000 steps", &Half::cpu, 4)?;
    }
    if let Some(ratio) = result.ratio_governance {
        let without = median(result.rounds.iter().filter_map(|r| Some(r.ungoverned.as_ref()?.steps_per_second)));
        let with = median(result.rounds.iter().map(|r| r.product.steps_per_second));
        writeln!(out, "{:<28}{:>12}{:>12}{:>10}", "\ngovernance", "off", "on", "ratio")?;
        writeln!(out, "{:<28}{without:>12.0}{with:>12.0}{ratio:>10.2}", "steps/s")?;
    }
    writeln!(out)?;
    if let Some(last) = result.rounds.last() {
        for (side, half) in [("floor", &last.floor), ("product", &last.product)] {
            for ((name, cpu), (_, peak)) in half.cpu_per_1000_steps.iter().zip(&half.peak_mib) {
                writeln!(out, "{side:<8} {name:<12} {cpu:>8.4} CPU s per 1,000 steps  {peak:>7.1} MiB peak")?;
            }
        }
    }
    Ok(())
}
