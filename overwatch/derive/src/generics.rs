//! The generics of a node that one of its services needs.

use std::{collections::HashSet, mem};

use quote::ToTokens;
use syn::{
    GenericParam, Generics, Ident, Lifetime, Type,
    visit::{self, Visit},
};

/// The node's generics without what the service does not mention: an `impl` must not have
/// parameters that nothing in its head determines.
pub(crate) fn generics_of(service: &Type, all: &Generics) -> Generics {
    let mentioned = Names::of(|names| names.visit_type(service));
    let left_out: HashSet<_> =
        (all.params.iter().map(name_of)).filter(|name| !mentioned.contains(name)).collect();
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
