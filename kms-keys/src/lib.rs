//! What a key is: types, signing, verifying.
