//! The derive_services macro of the node framework.
