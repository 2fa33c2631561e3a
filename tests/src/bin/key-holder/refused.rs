//! What can't be loaded, and what is said of it.

use std::fs;
use std::path::Path;

use kms_backend::ErrorChain;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;

use crate::imports::key_of;

/// Tries to start a node on each of the settings `*.refused.yaml` and to import each of
/// `refused-documents`; prints why it can't.
pub fn try_all(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for settings in fs::read_dir(folder).unwrap() {
        let path = settings.unwrap().path();
        if !path.to_str().unwrap().ends_with(".refused.yaml") {
            continue;
        }
        let started = NodeSettings::from_file(&path)
            .and_then(|settings| runtime.block_on(RunningNode::start(settings)));
        let name = path.display();
        match started {
            Ok(_) => println!("{name} started"),
            Err(refusal) => println!("{name}: {refusal}\n{refusal:?}"),
        }
    }
    for document in fs::read_dir(folder.join("refused-documents")).unwrap() {
        let name = document.unwrap().file_name().into_string().unwrap();
        let key_type = name.rsplit('.').next().unwrap().parse().unwrap();
        match key_of(folder, "refused-documents", &name, key_type) {
            Ok(_) => println!("{name} started"),
            Err(error) => println!("document {name}: {}\n{error:?}", ErrorChain(&*error)),
        }
    }
}
