//! The boundary between the key management service and the places where keys live.
