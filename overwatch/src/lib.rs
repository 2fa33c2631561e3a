//! A node framework: services in one process that pass each other messages.
