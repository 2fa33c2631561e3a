//! What the macros understand of a struct.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, FieldsNamed, GenericArgument, Generics, Ident,
    PathArguments, Result, Type, ext::IdentExt, parse_quote_spanned, spanned::Spanned,
};

const HANDLE: &str = "OpaqueServiceRunnerHandle";

/// Turns every field into the handle of its service, and puts the derive on the struct.
pub(crate) fn with_runner_handles(
    arguments: TokenStream,
    mut input: DeriveInput,
) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            "`derive_services` takes no arguments: write `#[derive_services]`",
        ));
    }
    for field in &mut named_fields(&mut input)?.named {
        let service = &field.ty;
        // The service's span, so that what is wrong with the service is reported there.
        let span = service.span().resolved_at(Span::call_site());
        let handle = Ident::new(HANDLE, span);
        field.ty = parse_quote_spanned!(span=> ::overwatch::#handle<#service, RuntimeServiceId>);
    }
    Ok(quote! {
        #[derive(::overwatch::Services)]
        #input
    })
}

/// A node and its services.
pub(crate) struct Node {
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) services: Vec<Service>,
}

/// A service of a node.
pub(crate) struct Service {
    pub(crate) docs: Vec<Attribute>,
    pub(crate) field: Ident,
    pub(crate) variant: Ident,
    pub(crate) service: Type,
}

impl Node {
    pub(crate) fn parse(mut input: DeriveInput) -> Result<Self> {
        let fields = named_fields(&mut input)?;
        let services = (fields.named.iter())
            .map(|field| {
                let name = field.ident.clone().ok_or_else(|| not_named(&field.ty))?;
                Ok(Service {
                    docs: (field.attrs.iter())
                        .filter(|attribute| attribute.path().is_ident("doc"))
                        .cloned()
                        .collect(),
                    variant: format_ident!("{}", upper_camel_case(&name), span = name.span()),
                    field: name,
                    service: service_of(&field.ty)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        no_twins(&services)?;
        Ok(Self { name: input.ident, generics: input.generics, services })
    }
}

fn named_fields(input: &mut DeriveInput) -> Result<&mut FieldsNamed> {
    let name = input.ident.clone();
    match &mut input.data {
        Data::Struct(data) => match &mut data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => Ok(fields),
            Fields::Unnamed(fields) => Err(not_named(fields)),
            Fields::Named(_) | Fields::Unit => Err(Error::new_spanned(
                &name,
                format!("`{name}` has no services: give it a field for each, `kms: Kms`"),
            )),
        },
        Data::Enum(data) => Err(not_a_struct(data.enum_token.span, &name, "an enum")),
        Data::Union(data) => Err(not_a_struct(data.union_token.span, &name, "a union")),
    }
}

fn not_named(tokens: &impl ToTokens) -> Error {
    Error::new_spanned(
        tokens,
        "services need names, so a tuple struct cannot be a node: use named fields, `kms: Kms`",
    )
}

fn not_a_struct(span: Span, name: &Ident, what: &str) -> Error {
    Error::new(
        span,
        format!(
            "`{name}` is {what}, but a node is a struct whose fields are its services: use \
             `struct {name} {{ kms: Kms }}`"
        ),
    )
}

/// `Service` of `OpaqueServiceRunnerHandle<Service, RuntimeServiceId>`.
fn service_of(handle: &Type) -> Result<Type> {
    if let Type::Path(path) = handle
        && let Some(last) = path.path.segments.last()
        && last.ident == HANDLE
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(service)) = arguments.args.first()
    {
        return Ok(service.clone());
    }
    Err(Error::new_spanned(
        handle,
        format!(
            "not a `{HANDLE}<Service, RuntimeServiceId>`: put `#[derive_services]` on the struct, \
             which turns the services into it, instead of `#[derive(Services)]`"
        ),
    ))
}

/// The type of a service is what says which service is meant, so there is one of each.
fn no_twins(services: &[Service]) -> Result<()> {
    let mut types = HashMap::new();
    let mut variants = HashMap::new();
    for service in services {
        let Service { field, variant, .. } = service;
        let kind = service.service.to_token_stream().to_string();
        if let Some(twin) = types.insert(kind, field) {
            return Err(Error::new_spanned(
                &service.service,
                format!(
                    "`{twin}` and `{field}` have the same service type, so it would not say which \
                     of them is meant: wrap one in a type of its own, or give it another generic \
                     argument"
                ),
            ));
        }
        if let Some(twin) = variants.insert(variant, field) {
            return Err(Error::new(
                field.span(),
                format!(
                    "`{twin}` and `{field}` would both be `RuntimeServiceId::{variant}`: rename one"
                ),
            ));
        }
    }
    Ok(())
}

fn upper_camel_case(field: &Ident) -> String {
    let mut name = String::new();
    for word in field.unraw().to_string().split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
    }
    name
}
