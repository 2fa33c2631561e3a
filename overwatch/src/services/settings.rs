//! The settings of a service, which may change while it runs.

use std::sync::Arc;

use tokio::sync::watch;

/// Both sides of a service's settings.
pub struct SettingsHandle<Settings> {
    updater: SettingsUpdater<Settings>,
    notifier: SettingsNotifier<Settings>,
}

impl<Settings> SettingsHandle<Settings> {
    /// Starts with the given settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let (sender, receiver) = watch::channel(settings);
        Self {
            updater: SettingsUpdater { sender: Arc::new(sender) },
            notifier: SettingsNotifier { receiver },
        }
    }

    /// The side that changes them.
    #[must_use]
    pub const fn updater(&self) -> &SettingsUpdater<Settings> {
        &self.updater
    }

    /// The side that looks at them.
    #[must_use]
    pub const fn notifier(&self) -> &SettingsNotifier<Settings> {
        &self.notifier
    }
}

/// Looks at the settings.
pub struct SettingsNotifier<Settings> {
    receiver: watch::Receiver<Settings>,
}

impl<Settings: Clone> SettingsNotifier<Settings> {
    /// A clone of the latest settings.
    #[must_use]
    pub fn get_updated_settings(&self) -> Settings {
        self.receiver.borrow().clone()
    }
}

/// Changes the settings.
pub struct SettingsUpdater<Settings> {
    sender: Arc<watch::Sender<Settings>>,
}

impl<Settings> SettingsUpdater<Settings> {
    /// Replaces the settings.
    pub fn update(&self, settings: Settings) {
        // Unlike `send`, this also keeps what nobody looks at yet.
        self.sender.send_replace(settings);
    }
}

// By hand: derives would ask the settings to be `Clone`.
impl<Settings> Clone for SettingsHandle<Settings> {
    fn clone(&self) -> Self {
        Self { updater: self.updater.clone(), notifier: self.notifier.clone() }
    }
}

impl<Settings> Clone for SettingsNotifier<Settings> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone() }
    }
}

impl<Settings> Clone for SettingsUpdater<Settings> {
    fn clone(&self) -> Self {
        Self { sender: Arc::clone(&self.sender) }
    }
}
