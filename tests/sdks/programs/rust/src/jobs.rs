//! The part of the program that has to do with queues, pub/sub and cron.
//!
//! It listens to what it is told to, with a function and a trigger of its own for each
//! name, and keeps all that came.  What a handler does is in the message: with `failures`
//! it fails that many times.

use crate::Program;
use serde_json::{json, Value};

fn text<'a>(data: &'a Value, name: &str) -> &'a str {
    data[name].as_str().unwrap_or_default()
}

/// A trigger of `type` for the function `PREFIX::on-NAME`.
async fn listen(program: Program, data: Value) -> Result<Value, String> {
    let name = text(&data, "name").to_string();
    let function = format!("on-{name}");
    let known = program.state.heard.lock().unwrap().contains_key(&name);
    if !known {
        program.state.heard.lock().unwrap().insert(name.clone(), Vec::new());
        let place = name.clone();
        program.function(&function, move |program: Program, event: Value| {
            let place = place.clone();
            async move { handle(program, place, event) }
        });
    }
    let trigger =
        program.sdk.trigger(text(&data, "type"), program.id(&function), data["config"].clone());
    program.state.listening.lock().unwrap().insert(name.clone(), trigger);
    Ok(json!({"listening": name}))
}

fn handle(program: Program, name: String, event: Value) -> Result<Value, String> {
    let mut heard = program.state.heard.lock().unwrap();
    let events = heard.entry(name).or_default();
    let failures = event["failures"].as_u64().unwrap_or(0) as usize;
    events.push(event.clone());
    if events.iter().filter(|each| **each == event).count() <= failures {
        return Err("broken on purpose".to_string());
    }
    Ok(Value::Null)
}

async fn unlisten(program: Program, data: Value) -> Result<Value, String> {
    let name = text(&data, "name");
    let trigger = program.state.listening.lock().unwrap().remove(name);
    trigger.ok_or(format!("not listening to {name}"))?.unregister();
    Ok(json!({"listening": null}))
}

/// The receipt from a named queue, by the SDK's own action; also over HTTP.
#[cfg(feature = "modern")]
async fn enqueue(program: Program, data: Value) -> Result<Value, String> {
    let queue = text(&data, "queue").to_string();
    let receipt = program.sdk.enqueue(queue, text(&data, "function_id"), data["data"].clone());
    Ok(match receipt.await {
        Ok(value) => json!({"value": value}),
        Err(error) => json!({"error": error}),
    })
}

pub fn register(program: &Program) {
    program.function("listen", listen);
    program.function("unlisten", unlisten);
    program.function("heard", |program, _| async move {
        Ok(json!(*program.state.heard.lock().unwrap()))
    });
    // A condition; it says what the message says.
    program.function("wanted", |_, event| async move { Ok(event["wanted"].clone()) });
    #[cfg(feature = "modern")]
    {
        program.function("enqueue", enqueue);
        program.route("POST", "enqueue", "enqueue");
    }
}
