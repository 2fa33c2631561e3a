//! Keys whose secrets the settings point at: files and environment variables.
