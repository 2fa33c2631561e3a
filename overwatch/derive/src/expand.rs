//! What the macro generates.

use std::{collections::HashSet, mem};

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{
    GenericParam, Generics, Ident, Lifetime, Type,
    ext::IdentExt,
    visit::{self, Visit},
};

use crate::node::{Node, Service};

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
    let variants: Vec<_> = node
        .services
        .iter()
        .map(|service| &service.variant)
        .collect();
    let names: Vec<_> = variants
        .iter()
        .map(|variant| variant.unraw().to_string())
        .collect();
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
        let Service {
            docs,
            field,
            service,
            ..
        } = service;
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
    let variants: Vec<_> = node
        .services
        .iter()
        .map(|service| &service.variant)
        .collect();
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

/// The node's generics without what the service does not mention: an `impl` must not have
/// parameters that nothing in its head determines.
fn generics_of(service: &Type, all: &Generics) -> Generics {
    let mentioned = Names::of(|names| names.visit_type(service));
    let left_out: HashSet<_> = (all.params.iter().map(name_of))
        .filter(|name| !mentioned.contains(name))
        .collect();
    let determined = |names: HashSet<String>| names.is_disjoint(&left_out);
    let mut generics = all.clone();
    generics.params = (mem::take(&mut generics.params).into_iter())
        .filter(|param| !left_out.contains(&name_of(param)))
        .map(|mut param| {
            if let GenericParam::Type(param) = &mut param {
                param.bounds = (mem::take(&mut param.bounds).into_iter())
                    .filter(|bound| determined(Names::of(|it| it.visit_type_param_bound(bound))))
                    .collect();
            }
            param
        })
        .collect();
    if let Some(clause) = &mut generics.where_clause {
        clause.predicates = (mem::take(&mut clause.predicates).into_iter())
            .filter(|bound| determined(Names::of(|it| it.visit_where_predicate(bound))))
            .collect();
    }
    generics
}

fn name_of(param: &GenericParam) -> String {
    match param {
        GenericParam::Lifetime(param) => param.lifetime.to_string(),
        GenericParam::Type(param) => param.ident.to_string(),
        GenericParam::Const(param) => param.ident.to_string(),
    }
}

/// All names in a piece of code.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn of(look: impl FnOnce(&mut Self)) -> HashSet<String> {
        let mut names = Self::default();
        look(&mut names);
        names.0
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.0.insert(ident.to_string());
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.0.insert(lifetime.to_string());
        visit::visit_lifetime(self, lifetime);
    }

    fn visit_macro(&mut self, code: &'ast syn::Macro) {
        // Its tokens may be anything, so each counts.
        for token in code.to_token_stream() {
            self.0.insert(token.to_string());
        }
    }
}
