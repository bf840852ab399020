//! One real worker, written against every published Rust generation.
//!
//! The runner starts it as `worker ENGINE PREFIX` and then drives it only from
//! outside: over HTTP, from another SDK and from a raw socket.  The same function
//! names exist in the Python and Node programs, so that one scenario serves all.
//!
//! What differs between generations is in `classic.rs` and `modern.rs`.

#[cfg(feature = "classic")]
#[path = "classic.rs"]
mod sdk;
#[cfg(feature = "modern")]
#[path = "modern.rs"]
mod sdk;
mod jobs;
mod observed;
#[cfg(feature = "late")]
mod own;
mod stored;
#[cfg(feature = "channels")]
mod streaming;

use sdk::Sdk;
use serde_json::{json, Value};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// A function or trigger that can be taken away again.
pub struct Removable(Box<dyn FnOnce() + Send>);

impl Removable {
    pub fn new(unregister: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(unregister))
    }

    pub fn unregister(self) {
        (self.0)()
    }
}

/// What the program remembers.
#[derive(Default)]
pub struct State {
    pub notes: Mutex<Vec<Value>>,
    pub seen: Mutex<Vec<String>>,
    pub bound: Mutex<HashMap<String, Value>>,
    pub unbound: Mutex<Vec<String>>,
    /// What came to the triggers of `stored.rs` and to the stream of `own.rs`.
    pub seen_events: Mutex<HashMap<String, Vec<Value>>>,
    /// What came to the triggers of `jobs.rs`, and these triggers.
    pub heard: Mutex<HashMap<String, Vec<Value>>>,
    pub listening: Mutex<HashMap<String, Removable>>,
    removable: Mutex<HashMap<String, Removable>>,
    stopping: Notify,
}

impl State {
    pub fn saw(&self, kind: &str, event: Value) {
        self.seen_events.lock().unwrap().entry(kind.to_string()).or_default().push(event);
    }
}

#[derive(Clone)]
pub struct Program {
    pub sdk: Sdk,
    pub prefix: String,
    pub state: Arc<State>,
}

impl Program {
    pub fn id(&self, name: &str) -> String {
        format!("{}::{}", self.prefix, name)
    }

    /// Register `PREFIX::name`; the handler gets the program and the input.
    pub fn function<F, Fut>(&self, name: &str, handler: F) -> Option<Removable>
    where
        F: Fn(Program, Value) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<Value, String>> + Send + 'static,
    {
        let program = self.clone();
        self.sdk.function(self.id(name), move |data| handler(program.clone(), data))
    }

    pub fn route(&self, method: &str, path: &str, name: &str) -> Removable {
        let config = json!({"api_path": format!("{}/{path}", self.prefix), "http_method": method});
        self.sdk.trigger("http", self.id(name), config)
    }

    fn removable(&self, what: &str, handle: Option<Removable>) {
        if let Some(handle) = handle {
            self.state.removable.lock().unwrap().insert(what.to_string(), handle);
        }
    }
}

/// A request as the SDK types it, and its answer likewise.
async fn item(program: Program, data: Value) -> Result<Value, String> {
    let request: sdk::Request = serde_json::from_value(data).map_err(|e| e.to_string())?;
    let body = json!({
        "id": request.path_params.get("id"),
        "page": request.query_params.get("page"),
        "agent": request.headers.get("x-agent"),
        "method": request.method,
    });
    Ok(respond(&program, 203, body))
}

async fn create(program: Program, data: Value) -> Result<Value, String> {
    let request: sdk::Request = serde_json::from_value(data).map_err(|e| e.to_string())?;
    let body = json!({"id": request.path_params.get("id"), "got": request.body});
    Ok(respond(&program, 201, body))
}

fn respond(program: &Program, status_code: u16, body: Value) -> Value {
    let headers = HashMap::from([("x-sdk".to_string(), program.prefix.clone())]);
    serde_json::to_value(sdk::Response { status_code, headers, body }).unwrap()
}

async fn add(_: Program, data: Value) -> Result<Value, String> {
    let number = |name: &str| data[name].as_i64().ok_or(format!("{name} is missing"));
    Ok(json!({"sum": number("a")? + number("b")?}))
}

async fn relay(program: Program, data: Value) -> Result<Value, String> {
    let target = data["function_id"].as_str().unwrap_or_default();
    Ok(match program.sdk.call(target, data["data"].clone()).await {
        Ok(value) => json!({"value": value}),
        Err(error) => json!({"error": error}),
    })
}

async fn send(program: Program, data: Value) -> Result<Value, String> {
    let target = data["function_id"].as_str().unwrap_or_default();
    program.sdk.send(target, data["data"].clone()).await;
    Ok(json!({"sent": true}))
}

async fn drop_one(program: Program, data: Value) -> Result<Value, String> {
    let what = data["what"].as_str().unwrap_or_default();
    let handle = program.state.removable.lock().unwrap().remove(what);
    handle.ok_or(format!("no {what} to drop"))?.unregister();
    Ok(json!({"dropped": what}))
}

fn register(program: &Program) {
    program.function("echo", |_, data| async move { Ok(data) });
    program.function("add", add);
    program.function("item", item);
    program.function("create", create);
    program.function("nothing", |_, _| async { Ok(Value::Null) });
    program.function("fail", |_, _| async { Err("broken on purpose".to_string()) });
    program.function("note", |program, data| async move {
        let mut notes = program.state.notes.lock().unwrap();
        notes.push(data["n"].clone());
        Ok(json!({"noted": notes.len()}))
    });
    program.function("recorded", |program, _| async move {
        Ok(json!({"notes": *program.state.notes.lock().unwrap()}))
    });
    program.function("relay", relay);
    program.function("send", send);
    program.function("lists", |program, _| async move { program.sdk.lists().await });
    program.function("announced", |program, _| async move {
        Ok(json!({"functions": *program.state.seen.lock().unwrap()}))
    });
    program.function("bound", |program, _| async move {
        let bound = program.state.bound.lock().unwrap();
        Ok(json!({"bound": *bound, "unbound": *program.state.unbound.lock().unwrap()}))
    });
    program.function("drop", drop_one);
    // A trigger the engine has to refuse: `http` needs `api_path`.
    program.function("misregister", |program, _| async move {
        program.sdk.trigger("http", program.id("echo"), json!({"http_method": "GET"}));
        Ok(json!({"sent": true}))
    });
    program.function("stop", |program, _| async move {
        program.state.stopping.notify_one();
        Ok(Value::Null)
    });
    let temporary = program.function("temporary", |_, _| async { Ok(json!({"here": true})) });
    program.removable("function", temporary);
    #[cfg(feature = "channels")]
    streaming::register(program);
    stored::register(program);
    jobs::register(program);
    observed::register(program);
    program.sdk.trigger_type(format!("{}-events", program.prefix), program.state.clone());
    program.sdk.on_functions(program.state.clone());
    program.route("POST", "add", "add");
    program.route("GET", "items/:id", "item");
    program.route("POST", "items/:id", "create");
    program.route("GET", "nothing", "nothing");
    program.route("GET", "fail", "fail");
    let trigger = program.route("GET", "temporary", "temporary");
    program.removable("trigger", Some(trigger));
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().init();
    let arguments: Vec<String> = std::env::args().collect();
    let (address, prefix) = (arguments[1].clone(), arguments[2].clone());
    let sdk = Sdk::open(&address, &prefix).await;
    let program = Program { sdk, prefix, state: Arc::default() };
    register(&program);
    println!("program ready");
    program.state.stopping.notified().await;
    // The answer to `stop` leaves through the same queue as the end of the connection.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    program.sdk.close().await;
    println!("program done");
}
