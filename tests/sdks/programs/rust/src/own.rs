//! A stream the program keeps itself, behind the release's `create_stream`.

use crate::State;
use async_trait::async_trait;
use iii_helpers::stream::{
    StreamDeleteInput, StreamDeleteResult, StreamGetInput, StreamListGroupsInput, StreamListInput,
    StreamSetInput, StreamSetResult, StreamUpdateInput, StreamUpdateResult,
};
use iii_sdk::{Error, IStream};
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

struct Row {
    group: String,
    item: String,
    data: Value,
}

pub struct Own {
    rows: Mutex<Vec<Row>>,
    state: Arc<State>,
}

fn find(rows: &[Row], group: &str, item: &str) -> Option<usize> {
    rows.iter().position(|row| row.group == group && row.item == item)
}

impl Own {
    pub fn new(state: Arc<State>) -> Self {
        Self { rows: Mutex::default(), state }
    }

    fn called(&self, name: &str) {
        self.state.saw("own", json!(name));
    }
}

#[async_trait]
impl IStream for Own {
    async fn get(&self, input: StreamGetInput) -> Result<Option<Value>, Error> {
        self.called("get");
        if input.item_id == "broken" {
            return Err(Error::Handler("broken on purpose".to_string()));
        }
        let rows = self.rows.lock().unwrap();
        Ok(find(&rows, &input.group_id, &input.item_id).map(|index| rows[index].data.clone()))
    }

    async fn set(&self, input: StreamSetInput) -> Result<Option<StreamSetResult>, Error> {
        self.called("set");
        let mut rows = self.rows.lock().unwrap();
        let new_value = input.data.clone();
        let old_value = match find(&rows, &input.group_id, &input.item_id) {
            Some(index) => Some(std::mem::replace(&mut rows[index].data, input.data)),
            None => {
                rows.push(Row { group: input.group_id, item: input.item_id, data: input.data });
                None
            }
        };
        Ok(Some(StreamSetResult { old_value, new_value }))
    }

    async fn delete(&self, input: StreamDeleteInput) -> Result<StreamDeleteResult, Error> {
        self.called("delete");
        let mut rows = self.rows.lock().unwrap();
        let index = find(&rows, &input.group_id, &input.item_id);
        Ok(StreamDeleteResult { old_value: index.map(|index| rows.remove(index).data) })
    }

    async fn list(&self, input: StreamListInput) -> Result<Vec<Value>, Error> {
        self.called("list");
        let rows = self.rows.lock().unwrap();
        let group = rows.iter().filter(|row| row.group == input.group_id);
        Ok(group.map(|row| row.data.clone()).collect())
    }

    async fn list_groups(&self, _: StreamListGroupsInput) -> Result<Vec<String>, Error> {
        self.called("list_groups");
        let rows = self.rows.lock().unwrap();
        let groups: BTreeSet<_> = rows.iter().map(|row| row.group.clone()).collect();
        Ok(groups.into_iter().collect())
    }

    /// Part of the interface, registered by no release.
    async fn update(&self, _: StreamUpdateInput) -> Result<Option<StreamUpdateResult>, Error> {
        Err(Error::Handler("nobody calls this".to_string()))
    }
}
