//! The part of the program that tells of itself: a span, logs, metrics.
//!
//! All of it goes the SDK's own way.

use crate::Program;
use serde_json::{json, Value};
use std::sync::Arc;

#[cfg(feature = "late")]
use iii_helpers::observability::{telemetry, with_span, Logger};
#[cfg(not(feature = "late"))]
use iii_sdk::{telemetry, with_span, Logger};

use telemetry::otel_worker_gauges::{register_worker_gauges, WorkerGaugesOptions};
use telemetry::worker_metrics::WorkerMetricsCollector;

/// A span with a log of each level inside.
async fn observe(program: Program, data: Value) -> Result<Value, String> {
    let n = data["n"].as_str().unwrap_or_default().to_string();
    let from = Some(json!({"from": program.prefix}));
    let work = || async {
        let logger = Logger::default();
        logger.info(&format!("info {n}"), from.clone());
        logger.warn(&format!("warn {n}"), from.clone());
        logger.error(&format!("error {n}"), from.clone());
        logger.debug(&format!("debug {n}"), from.clone());
        Ok(json!({"observed": n}))
    };
    with_span(&format!("work {n}"), None, None, work).await.map_err(|error| error.to_string())
}

/// A counter; and the SDK's gauges, which no release registers by itself.
async fn measure(program: Program, data: Value) -> Result<Value, String> {
    let meter = telemetry::get_meter();
    meter.u64_counter("program.measured").build().add(3, &[]);
    let options = WorkerGaugesOptions {
        worker_id: data["worker_id"].as_str().unwrap_or_default().to_string(),
        worker_name: Some(program.prefix),
    };
    // They last as long as their handle, which is as long as the program.
    let collector = Arc::new(WorkerMetricsCollector::new());
    Box::leak(Box::new(register_worker_gauges(&meter, collector, options)));
    Ok(json!({"measured": 3}))
}

pub fn register(program: &Program) {
    program.function("observe", observe);
    program.function("measure", measure);
}
