//! The trivial reconciler of the storm, on kube-rs: a status is the length of the url, written only when it differs.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::watcher;
use kube::{Client, CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};

const WORKERS: u16 = 32;

#[derive(CustomResource, Clone, Debug, Serialize, Deserialize)]
#[kube(group = "neptune.io", version = "v1alpha1", kind = "Dataset", namespaced, schema = "disabled", status = "DatasetStatus")]
#[serde(rename_all = "camelCase")]
struct DatasetSpec {
    url: String,
    format: String,
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DatasetStatus {
    number_of_samples: Option<i64>,
}

async fn reconcile(dataset: Arc<Dataset>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let wanted = dataset.spec.url.len() as i64;
    if dataset.status.as_ref().and_then(|status| status.number_of_samples) != Some(wanted) {
        let namespace = dataset.namespace().unwrap_or_default();
        let api: Api<Dataset> = Api::namespaced(client.as_ref().clone(), &namespace);
        let patch = serde_json::json!({"status": {"numberOfSamples": wanted}});
        api.patch_status(&dataset.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(Action::await_change())
}

#[tokio::main]
async fn main() -> Result<(), kube::Error> {
    let client = Client::try_default().await?;
    Controller::new(Api::<Dataset>::all(client.clone()), watcher::Config::default())
        .with_config(Config::default().concurrency(WORKERS))
        .shutdown_on_signal()
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client))
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                eprintln!("{error}");
            }
        })
        .await;
    Ok(())
}
