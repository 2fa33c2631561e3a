//! A disk without room.

use std::fs;
use std::io::Write;
use std::path::Path;

/// Takes all the room that is left, by a file called `filler`.
pub(crate) fn fill(folder: &Path) {
    let mut filler = fs::File::create(folder.join("filler")).unwrap();
    for chunk in [64 * 1024, 4096, 512, 1] {
        while filler.write_all(&vec![0; chunk]).is_ok() {}
    }
}
