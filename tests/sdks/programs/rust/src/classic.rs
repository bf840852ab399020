//! 0.2.1 and 0.8.3: `III::new`, `connect()`, positional arguments.
//!
//! 0.2.1 has neither channels nor a handle to unregister a function.

use crate::{Removable, State};
use iii_sdk::iii::{FunctionInfo, WorkerMetadata, III};
use iii_sdk::triggers::{TriggerConfig, TriggerHandler};
use iii_sdk::IIIError;
use serde_json::{json, Value};
use std::future::Future;
use std::sync::{Arc, Mutex};

#[cfg(feature = "channels")]
pub use iii_sdk::channels::{ChannelReader, ChannelWriter, StreamChannelRef};
pub use iii_sdk::UpdateOp;
pub type Request = iii_sdk::ApiRequest;
pub type Response = iii_sdk::ApiResponse;

#[derive(Clone)]
pub struct Sdk {
    client: III,
    #[cfg(feature = "channels")]
    address: String,
    /// Ends the subscription when dropped.
    subscription: Arc<Mutex<Option<iii_sdk::iii::FunctionsAvailableGuard>>>,
}

struct Events(Arc<State>);

#[async_trait::async_trait]
impl TriggerHandler for Events {
    async fn register_trigger(&self, trigger: TriggerConfig) -> Result<(), IIIError> {
        if trigger.config["refuse"].as_bool() == Some(true) {
            return Err(IIIError::Handler("refused on purpose".to_string()));
        }
        let binding = json!({"function_id": trigger.function_id, "config": trigger.config});
        self.0.bound.lock().unwrap().insert(trigger.id, binding);
        Ok(())
    }

    async fn unregister_trigger(&self, trigger: TriggerConfig) -> Result<(), IIIError> {
        self.0.unbound.lock().unwrap().push(trigger.id);
        Ok(())
    }
}

impl Sdk {
    pub async fn open(address: &str, name: &str) -> Self {
        let metadata = WorkerMetadata { name: name.to_string(), ..WorkerMetadata::default() };
        let client = III::with_metadata(address, metadata);
        // Until 0.8.3 telemetry is off without this.
        client.set_otel_config(iii_sdk::OtelConfig {
            metrics_export_interval_ms: Some(300),
            ..iii_sdk::OtelConfig::default()
        });
        client.connect().await.expect("connect");
        Self {
            client,
            #[cfg(feature = "channels")]
            address: address.to_string(),
            subscription: Arc::default(),
        }
    }

    pub async fn close(&self) {
        self.client.shutdown_async().await;
        // The connection's own task still has to say goodbye.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }

    pub fn function<F, Fut>(&self, id: String, handler: F) -> Option<Removable>
    where
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, String>> + Send + 'static,
    {
        let handle = self.client.register_function(id, move |data: Value| {
            let answer = handler(data);
            async move { answer.await.map_err(IIIError::Handler) }
        });
        removable(handle)
    }

    pub fn trigger(&self, kind: &str, function_id: String, config: Value) -> Removable {
        let trigger = self.client.register_trigger(kind, function_id, config).expect("trigger");
        Removable::new(move || trigger.unregister())
    }

    pub fn trigger_type(&self, id: String, state: Arc<State>) {
        self.client.register_trigger_type(id, "events of the program", Events(state));
    }

    pub async fn call(&self, function_id: &str, data: Value) -> Result<Value, String> {
        self.client.call(function_id, data).await.map_err(|error| error.to_string())
    }

    pub async fn send(&self, function_id: &str, data: Value) {
        self.client.call_void(function_id, data).expect("send");
    }

    /// `state::update` by hand, `stream::update` with the SDK's helper.
    pub async fn update(
        &self,
        function_id: &str,
        target: Value,
        ops: Vec<UpdateOp>,
    ) -> Result<Value, String> {
        if function_id != "stream::update" {
            let mut data = target;
            data["ops"] = json!(ops);
            return self.call(function_id, data).await;
        }
        let part = |name: &str| target[name].as_str().unwrap_or_default().to_string();
        let key = [part("stream_name"), part("group_id"), part("item_id")].join("::");
        let result = iii_sdk::Streams::new(self.client.clone()).update(key, ops).await;
        result.map(|result| json!(result)).map_err(|error| error.to_string())
    }

    pub async fn lists(&self) -> Result<Value, String> {
        let say = |error: IIIError| error.to_string();
        let functions = self.client.list_functions().await.map_err(say)?;
        let workers = self.client.list_workers().await.map_err(say)?;
        let triggers = self.client.list_triggers().await.map_err(say)?;
        Ok(json!({
            "functions": ids(&functions),
            "workers": workers.iter().map(|row| row.name.clone()).collect::<Vec<_>>(),
            "triggers": triggers.iter().map(|row| row.function_id.clone()).collect::<Vec<_>>(),
        }))
    }

    pub fn on_functions(&self, state: Arc<State>) {
        let guard = self
            .client
            .on_functions_available(move |rows| *state.seen.lock().unwrap() = ids(&rows));
        *self.subscription.lock().unwrap() = Some(guard);
    }
}

fn ids(functions: &[FunctionInfo]) -> Vec<String> {
    functions.iter().map(|row| row.function_id.clone()).collect()
}

#[cfg(feature = "channels")]
fn removable(handle: iii_sdk::iii::FunctionRef) -> Option<Removable> {
    Some(Removable::new(move || handle.unregister()))
}

#[cfg(not(feature = "channels"))]
fn removable(_: ()) -> Option<Removable> {
    None
}

#[cfg(feature = "channels")]
impl Sdk {
    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn channel(&self) -> Result<iii_sdk::types::Channel, String> {
        self.client.create_channel(None).await.map_err(|error| error.to_string())
    }
}
