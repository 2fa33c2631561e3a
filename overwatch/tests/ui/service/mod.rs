//! Services without fault, so that the struct's is all there is to report.

use overwatch::{
    DynError, OpaqueServiceResourcesHandle,
    services::{
        ServiceCore, ServiceData,
        state::{NoOperator, NoState},
    },
};

macro_rules! service {
    ($name:ident) => {
        pub struct $name;

        impl ServiceData for $name {
            type Settings = ();
            type State = NoState<()>;
            type StateOperator = NoOperator<Self::State>;
            type Message = ();
        }

        #[async_trait::async_trait]
        impl<Id> ServiceCore<Id> for $name {
            fn init(
                _resources: OpaqueServiceResourcesHandle<Self, Id>,
                _state: NoState<()>,
            ) -> Result<Self, DynError> {
                Ok(Self)
            }

            async fn run(self) -> Result<(), DynError> {
                Ok(())
            }
        }
    };
}

service!(Kms);
service!(Wallet);
