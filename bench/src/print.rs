//! The result, for people or for programs.

use std::io::Write;

use crate::args::Output;
use crate::measure::{Half, median};
use crate::rounds::Comparison;

pub(crate) fn print(result: &Comparison, output: Output) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(result)?)?,
        Output::Table => table(&mut out, result)?,
    }
    Ok(())
}

fn table(out: &mut impl Write, result: &Comparison) -> anyhow::Result<()> {
    writeln!(
        out,
        "bench {}: {} runs × {} steps, {} in flight, {} bytes, durability {}, {} partitions, {} rounds",
        result.benchmark,
        result.runs,
        result.steps,
        result.in_flight,
        result.payload_bytes,
        result.durability,
        result.partitions,
        result.rounds.len()
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
