//! What the macro generates.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, ext::IdentExt};

use crate::{
    generics::generics_of,
    node::{Node, Service},
};

pub(crate) fn expand(node: &Node) -> TokenStream {
    let ids = ids(node);
    let settings = settings(node);
    let services = services(node);
    quote! {
        #ids
        #settings
        #services
    }
}

fn settings_name(node: &Node) -> Ident {
    format_ident!("{}ServiceSettings", node.name.unraw())
}

/// `RuntimeServiceId` and all that is implemented for it.
fn ids(node: &Node) -> TokenStream {
    let docs = node.services.iter().map(|service| {
        if service.docs.is_empty() {
            let text = format!("The service of the field `{}`.", service.field.unraw());
            quote!(#[doc = #text])
        } else {
            let docs = &service.docs;
            quote!(#(#docs)*)
        }
    });
    let variants: Vec<_> = node.services.iter().map(|service| &service.variant).collect();
    let names: Vec<_> = variants.iter().map(|variant| variant.unraw().to_string()).collect();
    let task_names = |kind: &str| -> Vec<String> {
        (node.services.iter())
            .map(|service| format!("overwatch-{kind}/{}", service.field.unraw()))
            .collect()
    };
    let service_task_names = task_names("service");
    let state_task_names = task_names("state");
    let as_service_id = node.services.iter().map(|service| {
        let Service { variant, service, .. } = service;
        let generics = generics_of(service, &node.generics);
        let (parameters, _, bounds) = generics.split_for_impl();
        quote! {
            #[automatically_derived]
            #[allow(private_interfaces, private_bounds)]
            impl #parameters ::overwatch::services::AsServiceId<#service> for RuntimeServiceId #bounds {
                const SERVICE_ID: Self = Self::#variant;
            }
        }
    });
    let description = format!("Names a service of [`{}`].", node.name.unraw());
    quote! {
        #[doc = #description]
        #[allow(unreachable_pub)]
        #[derive(
            ::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug,
            ::core::cmp::PartialEq, ::core::cmp::Eq,
        )]
        pub enum RuntimeServiceId {
            #(#docs #variants,)*
        }

        #[automatically_derived]
        impl ::core::fmt::Display for RuntimeServiceId {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(match *self { #(Self::#variants => #names,)* })
            }
        }

        #[automatically_derived]
        impl ::core::str::FromStr for RuntimeServiceId {
            type Err = ::overwatch::overwatch::Error;

            fn from_str(name: &str) -> ::core::result::Result<Self, Self::Err> {
                match name {
                    #(#names => ::core::result::Result::Ok(Self::#variants),)*
                    unknown => ::core::result::Result::Err(
                        ::overwatch::derive_support::unknown_id(unknown, &[#(#names),*])
                    ),
                }
            }
        }

        #[automatically_derived]
        impl ::overwatch::services::ServiceTaskNames for RuntimeServiceId {
            fn service_task_name(&self) -> &'static str {
                match *self { #(Self::#variants => #service_task_names,)* }
            }

            fn state_task_name(&self) -> &'static str {
                match *self { #(Self::#variants => #state_task_names,)* }
            }
        }

        #(#as_service_id)*
    }
}

/// The settings of all services.
fn settings(node: &Node) -> TokenStream {
    let name = settings_name(node);
    let description = format!("The settings of the services of [`{}`].", node.name.unraw());
    let (parameters, bounds) = (&node.generics, &node.generics.where_clause);
    let fields = node.services.iter().map(|service| {
        let Service { docs, field, service, .. } = service;
        let text = format!("The settings of `{}`.", field.unraw());
        quote! {
            #[doc = #text]
            #(#docs)*
            pub #field: <#service as ::overwatch::services::ServiceData>::Settings
        }
    });
    quote! {
        #[doc = #description]
        #[allow(unreachable_pub, private_interfaces, private_bounds)]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        pub struct #name #parameters #bounds {
            #(#fields,)*
        }
    }
}

/// The implementation of `Services`.
fn services(node: &Node) -> TokenStream {
    let name = &node.name;
    let settings_name = settings_name(node);
    let (parameters, arguments, bounds) = node.generics.split_for_impl();
    let fields: Vec<_> = node.services.iter().map(|service| &service.field).collect();
    let variants: Vec<_> = node.services.iter().map(|service| &service.variant).collect();
    let types = node.services.iter().map(|service| &service.service);
    let error = quote!(::overwatch::overwatch::Error);
    let targets = quote!(::overwatch::derive_support::Targets);
    quote! {
        #[::overwatch::derive_support::async_trait]
        #[automatically_derived]
        #[allow(private_interfaces, private_bounds)]
        impl #parameters ::overwatch::overwatch::Services for #name #arguments #bounds {
            type Settings = #settings_name #arguments;
            type RuntimeServiceId = RuntimeServiceId;

            fn new(
                settings: Self::Settings,
                overwatch_handle: ::overwatch::overwatch::OverwatchHandle<RuntimeServiceId>,
            ) -> ::core::result::Result<Self, ::overwatch::DynError> {
                ::core::result::Result::Ok(Self {
                    #(#fields: ::overwatch::derive_support::run_service::<#types, RuntimeServiceId>(
                        settings.#fields,
                        &overwatch_handle,
                    ),)*
                })
            }

            async fn start(&mut self, id: &RuntimeServiceId) -> ::core::result::Result<(), #error> {
                #targets::new(self, ::core::slice::from_ref(id)).start().await
            }

            async fn start_sequence(
                &mut self,
                ids: &[RuntimeServiceId],
            ) -> ::core::result::Result<(), #error> {
                #targets::new(self, ids).start().await
            }

            async fn start_all(&mut self) -> ::core::result::Result<(), #error> {
                #targets::new(self, &[#(RuntimeServiceId::#variants),*]).start().await
            }

            async fn stop(&mut self, id: &RuntimeServiceId) -> ::core::result::Result<(), #error> {
                #targets::new(self, ::core::slice::from_ref(id)).stop().await
            }

            async fn stop_sequence(
                &mut self,
                ids: &[RuntimeServiceId],
            ) -> ::core::result::Result<(), #error> {
                #targets::new(self, ids).stop().await
            }

            async fn stop_all(&mut self) -> ::core::result::Result<(), #error> {
                #targets::new(self, &[#(RuntimeServiceId::#variants),*]).stop().await
            }

            async fn teardown(self) -> ::core::result::Result<(), #error> {
                #(self.#fields.teardown().await;)*
                ::core::result::Result::Ok(())
            }

            fn ids(&self) -> ::std::vec::Vec<RuntimeServiceId> {
                ::std::vec![#(RuntimeServiceId::#variants),*]
            }

            fn request_relay(
                &mut self,
                id: &RuntimeServiceId,
            ) -> ::overwatch::services::relay::AnyMessage {
                match *id {
                    #(RuntimeServiceId::#variants => ::std::boxed::Box::new(
                        self.#fields.service_handle().outbound_relay()
                    ),)*
                }
            }

            fn request_status_watcher(
                &self,
                id: &RuntimeServiceId,
            ) -> ::overwatch::services::status::StatusWatcher {
                match *id {
                    #(RuntimeServiceId::#variants => {
                        self.#fields.service_handle().status_watcher()
                    })*
                }
            }

            fn update_settings(&mut self, settings: Self::Settings) {
                #(self.#fields.service_handle().update_settings(settings.#fields);)*
            }

            fn get_service_lifecycle_notifier(
                &self,
                id: &RuntimeServiceId,
            ) -> &::overwatch::services::lifecycle::LifecycleNotifier {
                match *id {
                    #(RuntimeServiceId::#variants => {
                        self.#fields.service_handle().lifecycle_notifier()
                    })*
                }
            }
        }
    }
}
