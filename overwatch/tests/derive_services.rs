//! What `derive_services` makes of a struct.

#![cfg(feature = "derive")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fmt::Debug;

use async_trait::async_trait;
use overwatch::{
    DynError, OpaqueServiceResourcesHandle, derive_services,
    overwatch::{OverwatchHandle, OverwatchRunner},
    services::{
        AsServiceId, ServiceCore, ServiceData, ServiceTaskNames,
        state::{NoOperator, NoState},
    },
};
use tokio::{runtime::Handle, sync::oneshot};

/// A service that answers with its name, generic in what its node and its settings are.
pub struct Named<Name, Id>(OpaqueServiceResourcesHandle<Self, Id>)
where
    Name: Send + Sync + 'static;

impl<Name: Send + Sync + 'static, Id> ServiceData for Named<Name, Id> {
    type Settings = Name;
    type State = NoState<Name>;
    type StateOperator = NoOperator<Self::State>;
    type Message = oneshot::Sender<Name>;
}

#[async_trait]
impl<Name, Id> ServiceCore<Id> for Named<Name, Id>
where
    Name: Clone + Send + Sync + 'static,
    Id: Clone + Send + 'static,
{
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, Id>,
        _state: NoState<Name>,
    ) -> Result<Self, DynError> {
        Ok(Self(resources))
    }

    async fn run(mut self) -> Result<(), DynError> {
        while let Some(reply) = self.0.inbound_relay.recv().await {
            let _ = reply.send(self.0.settings_handle.notifier().get_updated_settings());
        }
        Ok(())
    }
}

/// What a service called `Name` answers in the node behind `handle`.
async fn ask<Name, Id>(handle: &OverwatchHandle<Id>) -> Name
where
    Name: Clone + Debug + Send + Sync + 'static,
    Id: AsServiceId<Named<Name, Id>> + Clone + Debug + std::fmt::Display + Send + Sync + 'static,
{
    handle.start_service::<Named<Name, Id>>().await.unwrap();
    let relay = handle.relay::<Named<Name, Id>>().await.unwrap();
    let (reply, name) = oneshot::channel();
    relay.send(reply).await.unwrap();
    name.await.unwrap()
}

mod plain {
    use super::*;

    #[derive_services]
    struct App {
        /// Has a comment of its own.
        text_keeper: Named<String, RuntimeServiceId>,
        r#type: Named<u8, RuntimeServiceId>,
        #[cfg(feature = "derive")]
        here: Named<u16, RuntimeServiceId>,
        #[cfg(any())]
        not_here: NoSuchService,
        // Alike in type with `here`, but never there together with it.
        #[cfg(not(feature = "derive"))]
        instead: Named<u16, RuntimeServiceId>,
    }

    fn settings() -> AppServiceSettings {
        AppServiceSettings { text_keeper: "text".to_owned(), r#type: 8, here: 16 }
    }

    #[test]
    fn ids_print_and_parse() {
        let ids = [
            (RuntimeServiceId::TextKeeper, "TextKeeper"),
            (RuntimeServiceId::Type, "Type"),
            (RuntimeServiceId::Here, "Here"),
        ];
        for (id, name) in ids {
            assert_eq!(id.to_string(), name);
            assert_eq!(name.parse::<RuntimeServiceId>().unwrap(), id);
        }
        let error: overwatch::overwatch::Error =
            "text_keeper".parse::<RuntimeServiceId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "no service has the id `text_keeper`; the services are: TextKeeper, Type, Here"
        );
        let id: RuntimeServiceId = AsServiceId::<Named<u16, RuntimeServiceId>>::SERVICE_ID;
        assert_eq!(id, RuntimeServiceId::Here);
    }

    #[test]
    fn tasks_are_named_after_the_fields() {
        let id = RuntimeServiceId::TextKeeper;
        assert_eq!(id.service_task_name(), "overwatch-service/text_keeper");
        assert_eq!(id.state_task_name(), "overwatch-state/text_keeper");
        assert_eq!(RuntimeServiceId::Type.service_task_name(), "overwatch-service/type");
    }

    #[test]
    fn settings_are_clone_and_debug() {
        assert_eq!(
            format!("{:?}", settings().clone()),
            r#"AppServiceSettings { text_keeper: "text", type: 8, here: 16 }"#
        );
    }

    #[tokio::test]
    async fn every_service_has_its_own_settings() {
        let node = OverwatchRunner::<App>::run(settings(), Some(Handle::current())).unwrap();
        assert_eq!(ask::<String, _>(node.handle()).await, "text");
        assert_eq!(ask::<u8, _>(node.handle()).await, 8);
        assert_eq!(ask::<u16, _>(node.handle()).await, 16);
        node.handle().shutdown().await.unwrap();
        node.wait_finished().await;
    }
}

mod generic {
    use super::*;

    #[derive_services]
    struct App<Left, Right: Into<u64>>
    where
        Left: Clone + Debug + Send + Sync + 'static,
        Right: Clone + Debug + Send + Sync + 'static,
        Left: PartialEq<Right>,
    {
        left: Named<[Left; 1], RuntimeServiceId>,
        right: Named<Vec<Right>, RuntimeServiceId>,
        neither: Named<(), RuntimeServiceId>,
    }

    #[tokio::test]
    async fn parameters_reach_the_services() {
        let settings = AppServiceSettings { left: [1_u8], right: vec![2_u8], neither: () };
        let runtime = Some(Handle::current());
        let node = OverwatchRunner::<App<u8, u8>>::run(settings, runtime).unwrap();
        assert_eq!(ask::<[u8; 1], _>(node.handle()).await, [1]);
        assert_eq!(ask::<Vec<u8>, _>(node.handle()).await, [2]);
        ask::<(), _>(node.handle()).await;
    }
}

/// Nothing that is generated is a lint's business.
pub mod strict {
    #![deny(warnings, missing_docs, unreachable_pub, unused_qualifications, private_interfaces)]

    use overwatch::derive_services;

    /// A node.
    #[derive_services]
    pub struct App {
        alone: super::Named<i8, RuntimeServiceId>,
    }
}
