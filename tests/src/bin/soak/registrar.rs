//! One who registers keys that no settings declare: again and again the same few names, which are new to
//! the service after each start, and to the store after each that it was begun anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kms_backend::IfMissing;
use kms_keys::{KeyType, PublicKey};
use kms_service::{KeyRequest, KmsError};
use kms_tests::id;

use crate::node::First;
use crate::random::Random;
use crate::world::World;

/// How many names there are.
const NAMES: usize = 24;

/// Registers keys of the `which`th set until it is over.
pub(crate) async fn register(world: Arc<World>, which: usize, number: u64) {
    let (api, tally) = (world.store.api::<First>().await, &world.store.tally);
    let mut random = Random::new(world.seed, number);
    let mut known: HashMap<String, PublicKey> = HashMap::new();
    let mut era = 0;
    while !world.is_over() {
        let asking = world.floor.read().await;
        let now = world.eras.load(Ordering::SeqCst);
        if now != era {
            era = now;
            known.clear();
        }
        let chosen = random.below(NAMES);
        let (name, right) = (format!("new-{which}/{chosen}"), KeyType::ALL[chosen % 3]);
        let wrong = random.below(10) == 0 && known.contains_key(&name);
        let key_type = if wrong { KeyType::ALL[(chosen + 1) % 3] } else { right };
        let request = KeyRequest::new(name.clone(), key_type).if_missing(IfMissing::Generate);
        match tally.ask(api.register(request)).await {
            Ok(_) if wrong => world.wrong(format!("{name} was registered with another type")),
            Ok(handle) => {
                world.seen.registered.fetch_add(1, Ordering::Relaxed);
                let key = handle.info().public_key.clone();
                if *known.entry(name.clone()).or_insert_with(|| key.clone()) != key {
                    world.wrong(format!("{name} is another key than before"));
                }
                let message = random.message();
                match tally.ask_local(api.sign(&id(&name), &*message).into_future()).await {
                    Ok(signature) => world.verify(&world.store, &key, &message, &signature),
                    // The service was started again since.
                    Err(KmsError::NotFound { .. }) => {}
                    Err(error) => world.tolerate("signing with a new key", &error),
                }
            }
            Err(KmsError::TypeMismatch { .. }) if wrong => {}
            // After a start the service asks the store, which has a key of another type there.
            Err(KmsError::Backend(_)) if wrong => {}
            Err(error) => world.tolerate("registering", &error),
        }
        drop(asking);
        tokio::time::sleep(random.millis(5, 60)).await;
    }
}
