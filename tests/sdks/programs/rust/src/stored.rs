//! The part of the program that has to do with state and streams.
//!
//! Operations are made of the release's own `UpdateOp`; until 0.8 `stream::update` goes
//! through the release's `Streams`.

use crate::sdk::UpdateOp;
use crate::Program;
use serde_json::{json, Value};

fn operations(variant: &str) -> Result<Vec<UpdateOp>, String> {
    match variant {
        "basic" => Ok(vec![
            UpdateOp::set("name", json!("Z")),
            UpdateOp::increment("counter", 10),
            UpdateOp::decrement("left", 1),
            UpdateOp::remove("old"),
            UpdateOp::merge(json!({"status": "active"})),
        ]),
        #[cfg(feature = "modern")]
        "append" => Ok(vec![
            UpdateOp::append("log", json!("a")),
            UpdateOp::append("log", json!("b")),
            UpdateOp::merge_at(vec!["deep", "er"], json!({"n": 1})),
            UpdateOp::increment("name", 1),
        ]),
        #[cfg(feature = "late")]
        "nested" => Ok(vec![UpdateOp::append_at_path(["x", "log"], json!("a"))]),
        other => Err(format!("this release has no operations for {other}")),
    }
}

async fn operate(program: Program, data: Value) -> Result<Value, String> {
    let ops = operations(data["variant"].as_str().unwrap_or_default())?;
    let function_id = data["function_id"].as_str().unwrap_or_default();
    program.sdk.update(function_id, data["target"].clone(), ops).await
}

/// A trigger whose events are kept; the answer is for join handlers.
fn watch(program: &Program, kind: &'static str, trigger_type: &str, config: Value) {
    program.function(&format!("on-{kind}"), move |program: Program, event: Value| async move {
        let answer = json!({"unauthorized": event["group_id"] == "secret"});
        program.state.saw(kind, event);
        Ok(if kind == "join" { answer } else { Value::Null })
    });
    program.sdk.trigger(trigger_type, program.id(&format!("on-{kind}")), config);
}

pub fn register(program: &Program) {
    let board = format!("{}-board", program.prefix);
    program.function("operate", operate);
    program.function("witnessed", |program, _| async move {
        Ok(json!(*program.state.seen_events.lock().unwrap()))
    });
    watch(program, "state", "state", json!({"scope": program.prefix}));
    watch(program, "stream", "stream", json!({"stream_name": board, "group_id": "g"}));
    watch(program, "join", "stream:join", json!({"stream_name": board}));
    watch(program, "leave", "stream:leave", json!({"stream_name": board}));
    #[cfg(feature = "late")]
    program.sdk.own_stream(format!("{}-own", program.prefix), program.state.clone());
}
