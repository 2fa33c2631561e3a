//! One settings enum that opens any backend of the workspace.
