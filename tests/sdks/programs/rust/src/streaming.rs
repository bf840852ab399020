//! The functions that use channels: releases from 0.8 on.

use crate::sdk::{ChannelReader, ChannelWriter, Sdk, StreamChannelRef};
use crate::Program;
use serde_json::{json, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Between two chunks of a streamed answer: long enough to be seen from outside.
const PAUSE: Duration = Duration::from_millis(150);

fn reference(data: &Value, name: &str) -> Result<StreamChannelRef, String> {
    serde_json::from_value(data[name].clone()).map_err(|e| format!("{name}: {e}"))
}

fn reader(sdk: &Sdk, data: &Value, name: &str) -> Result<ChannelReader, String> {
    Ok(ChannelReader::new(sdk.address(), &reference(data, name)?))
}

/// A channel of our own: the reader's end goes to whoever asked.
async fn produce(program: Program, data: Value) -> Result<Value, String> {
    let channel = program.sdk.channel().await?;
    let reader = serde_json::to_value(&channel.reader_ref).map_err(|e| e.to_string())?;
    let size = data["size"].as_u64().unwrap_or(0) as usize;
    tokio::spawn(async move {
        let greeting = format!("from {}", program.prefix);
        channel.writer.send_message(&greeting).await.expect("message");
        channel.writer.write(&vec![b'x'; size]).await.expect("content");
        channel.writer.close().await.expect("close");
    });
    Ok(json!({"reader": reader}))
}

async fn consume(program: Program, data: Value) -> Result<Value, String> {
    let reader = reader(&program.sdk, &data, "reader")?;
    let messages: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = messages.clone();
    reader.on_message(move |text| sink.lock().unwrap().push(text)).await;
    let content = reader.read_all().await.map_err(|e| e.to_string())?;
    Ok(json!({"size": content.len(), "messages": *messages.lock().unwrap()}))
}

/// Upper-cases the request body word by word, streaming.
async fn stream(program: Program, data: Value) -> Result<Value, String> {
    let reader = reader(&program.sdk, &data, "request_body")?;
    let body = reader.read_all().await.map_err(|e| e.to_string())?;
    let writer = ChannelWriter::new(program.sdk.address(), &reference(&data, "response")?);
    let headers = json!({"content-type": "text/plain", "x-sdk": program.prefix});
    for message in [
        json!({"type": "set_status", "status_code": 207}),
        json!({"type": "set_headers", "headers": headers}),
    ] {
        writer.send_message(&message.to_string()).await.map_err(|e| e.to_string())?;
    }
    for word in String::from_utf8_lossy(&body).split_whitespace() {
        let line = format!("{}\n", word.to_uppercase());
        writer.write(line.as_bytes()).await.map_err(|e| e.to_string())?;
        tokio::time::sleep(PAUSE).await;
    }
    writer.close().await.map_err(|e| e.to_string())?;
    Ok(Value::Null)
}

pub fn register(program: &Program) {
    program.function("produce", produce);
    program.function("consume", consume);
    program.function("stream", stream);
    program.route("POST", "stream", "stream");
}
