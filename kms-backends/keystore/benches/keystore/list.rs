//! The first page of a list: of few keys, and of very many.

use kms_backend::PageRequest;
use kms_keys::KeyType;

use crate::Size;
use crate::scene::{folder, new_keys, open_backend, runtime, store_with};
use crate::spread::Spread;

const PAGE: usize = 100;

pub fn measure(size: Size) -> Vec<(String, String)> {
    let folder = folder();
    let runtime = runtime();
    let few = size.many / 100;
    let backends = [few, size.many].map(|count| {
        let keys = new_keys(count, &[KeyType::Ed25519]);
        open_backend(&runtime, &store_with(folder.path(), &count.to_string(), &keys))
    });
    let mut spreads = [Spread::default(), Spread::default()];
    for _ in 0..size.turns * 11 {
        for (backend, spread) in backends.iter().zip(&mut spreads) {
            let page = spread.time(|| runtime.block_on(backend.list(&PageRequest::first(PAGE))));
            assert_eq!(page.unwrap().keys.len(), PAGE.min(few));
        }
    }
    let [of_few, of_many] = &spreads;
    of_few.print(&format!("first page ({PAGE}) of {few} keys"));
    of_many.print(&format!("first page ({PAGE}) of {} keys", size.many));
    let ratio = format!("{:.2}", of_many.median() / of_few.median());
    vec![("first_page_of_many_vs_few".into(), ratio)]
}
