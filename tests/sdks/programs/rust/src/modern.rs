//! 0.11.6 and 0.22.1: `register_worker`, request structs, a thread of its own.
//!
//! Between the two the client was renamed, the function id moved out of
//! `RegisterFunction`, and channels moved to a module of helpers (`late`).

use crate::{Removable, State};
use iii_sdk::iii::{RegisterFunction, RegisterTriggerType, WorkerMetadata};
use iii_sdk::protocol::{RegisterTriggerInput, TriggerAction, TriggerRequest};
use iii_sdk::triggers::{TriggerConfig, TriggerHandler};
use iii_sdk::{register_worker, InitOptions};
use serde_json::{json, Value};
use std::future::Future;
use std::sync::Arc;

#[cfg(feature = "late")]
use iii_sdk::{Error as SdkError, IIIClient as Client};
#[cfg(not(feature = "late"))]
use iii_sdk::{IIIError as SdkError, III as Client};

pub use iii_sdk::channels::{ChannelReader, ChannelWriter, StreamChannelRef};
#[cfg(feature = "late")]
use iii_helpers::observability::OtelConfig;
#[cfg(feature = "late")]
pub use iii_helpers::stream::UpdateOp;
#[cfg(not(feature = "late"))]
use iii_sdk::OtelConfig;
#[cfg(not(feature = "late"))]
pub use iii_sdk::UpdateOp;
#[cfg(not(feature = "late"))]
pub type Request = iii_sdk::ApiRequest;
#[cfg(not(feature = "late"))]
pub type Response = iii_sdk::ApiResponse;
#[cfg(feature = "late")]
pub type Request = iii_sdk::StreamRequest;
#[cfg(feature = "late")]
pub type Response = iii_sdk::StreamResponse;

#[derive(Clone)]
pub struct Sdk {
    client: Client,
}

struct Events(Arc<State>);

#[async_trait::async_trait]
impl TriggerHandler for Events {
    async fn register_trigger(&self, trigger: TriggerConfig) -> Result<(), SdkError> {
        if trigger.config["refuse"].as_bool() == Some(true) {
            return Err(SdkError::Handler("refused on purpose".to_string()));
        }
        let binding = json!({"function_id": trigger.function_id, "config": trigger.config});
        self.0.bound.lock().unwrap().insert(trigger.id, binding);
        Ok(())
    }

    async fn unregister_trigger(&self, trigger: TriggerConfig) -> Result<(), SdkError> {
        self.0.unbound.lock().unwrap().push(trigger.id);
        Ok(())
    }
}

/// What programs of releases without list methods call: name, id, key, column.
const LISTS: [(&str, &str, &str, &str); 3] = [
    ("functions", "engine::functions::list", "functions", "function_id"),
    ("workers", "engine::workers::list", "workers", "name"),
    ("triggers", "engine::registered-triggers::list", "registered_triggers", "function_id"),
];

impl Sdk {
    pub async fn open(address: &str, name: &str) -> Self {
        let metadata = WorkerMetadata { name: name.to_string(), ..WorkerMetadata::default() };
        let otel = OtelConfig { metrics_export_interval_ms: Some(300), ..OtelConfig::default() };
        let options = InitOptions { metadata: Some(metadata), otel: Some(otel), ..Default::default() };
        Self { client: register_worker(address, options) }
    }

    pub async fn close(&self) {
        let client = self.client.clone();
        // Joins the connection's thread.
        tokio::task::spawn_blocking(move || client.shutdown()).await.expect("shutdown");
    }

    pub fn address(&self) -> &str {
        self.client.address()
    }

    pub fn function<F, Fut>(&self, id: String, handler: F) -> Option<Removable>
    where
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, String>> + Send + 'static,
    {
        let wrapped = move |data: Value| {
            let answer = handler(data);
            async move { answer.await.map_err(SdkError::Handler) }
        };
        #[cfg(feature = "late")]
        let handle = self.client.register_function(id, RegisterFunction::new_async(wrapped));
        #[cfg(not(feature = "late"))]
        let handle = self.client.register_function(RegisterFunction::new_async(id, wrapped));
        Some(Removable::new(move || handle.unregister()))
    }

    pub fn trigger(&self, kind: &str, function_id: String, config: Value) -> Removable {
        let input = RegisterTriggerInput {
            trigger_type: kind.to_string(),
            function_id,
            config,
            metadata: None,
        };
        let trigger = self.client.register_trigger(input).expect("trigger");
        Removable::new(move || trigger.unregister())
    }

    pub fn trigger_type(&self, id: String, state: Arc<State>) {
        let kind = RegisterTriggerType::new(id, "events of the program", Events(state));
        self.client.register_trigger_type(kind);
    }

    async fn request(
        &self,
        function_id: &str,
        payload: Value,
        action: Option<TriggerAction>,
    ) -> Result<Value, String> {
        let function_id = function_id.to_string();
        let request = TriggerRequest { function_id, payload, action, timeout_ms: None };
        self.client.trigger(request).await.map_err(|error| error.to_string())
    }

    pub async fn call(&self, function_id: &str, data: Value) -> Result<Value, String> {
        self.request(function_id, data, None).await
    }

    pub async fn send(&self, function_id: &str, data: Value) {
        self.request(function_id, data, Some(TriggerAction::Void)).await.expect("send");
    }

    pub async fn enqueue(
        &self,
        queue: String,
        function_id: &str,
        data: Value,
    ) -> Result<Value, String> {
        self.request(function_id, data, Some(TriggerAction::Enqueue { queue })).await
    }

    pub async fn update(
        &self,
        function_id: &str,
        target: Value,
        ops: Vec<UpdateOp>,
    ) -> Result<Value, String> {
        let mut data = target;
        data["ops"] = json!(ops);
        self.call(function_id, data).await
    }

    #[cfg(feature = "late")]
    pub fn own_stream(&self, name: String, state: Arc<State>) {
        iii_sdk::helpers::create_stream(&self.client, name, crate::own::Own::new(state));
    }

    pub async fn lists(&self) -> Result<Value, String> {
        let mut lists = json!({});
        for (name, function_id, key, column) in LISTS {
            let answer = self.call(function_id, json!({})).await?;
            let rows = answer[key].as_array().ok_or(format!("{function_id}: no {key}"))?;
            lists[name] = rows.iter().map(|row| row[column].clone()).collect();
        }
        Ok(lists)
    }

    /// These releases have no such callback any more.
    pub fn on_functions(&self, _: Arc<State>) {}

    #[cfg(feature = "late")]
    pub async fn channel(&self) -> Result<iii_sdk::types::Channel, String> {
        let channel = iii_sdk::helpers::create_channel(&self.client, None).await;
        channel.map_err(|error| error.to_string())
    }

    #[cfg(not(feature = "late"))]
    pub async fn channel(&self) -> Result<iii_sdk::types::Channel, String> {
        self.client.create_channel(None).await.map_err(|error| error.to_string())
    }
}
