//! An example node: three services that sign through the key management service.
