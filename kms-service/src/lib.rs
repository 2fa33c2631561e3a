//! The key management service: one actor that owns every key of a node.
