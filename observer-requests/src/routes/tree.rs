//! The routes of one workload, learned as they come.

use std::sync::Arc;

use super::segment::ID;

/// Routes of one workload. More than most programs have; each is a series, and
/// with where its time goes eight.
pub const ROUTES: usize = 200;

/// Of these, how many paths can take that were never there (404): scanners ask
/// for anything.
pub const UNFOUND_ROUTES: usize = 40;

/// Names beneath one segment. When more turn up they aren't names but things,
/// and all further ones are `{id}`.
pub const CHILDREN: usize = 32;

/// Learned routes. What was once given stays as it is.
#[derive(Default)]
pub struct Tree {
    root: Node,
    routes: usize,
}

/// As deep as paths are looked at.
#[derive(Default)]
struct Node {
    children: Vec<(Box<str>, Node)>,
    route: Option<Arc<str>>,
}

impl Tree {
    /// The route of a path whose segments are called so; `None` if there are
    /// too many.
    pub fn route(&mut self, segments: &[String], limit: usize) -> Option<Arc<str>> {
        let learns = self.routes < limit;
        let mut node = &mut self.root;
        let mut route = String::new();
        for segment in segments {
            let (name, child) = node.child(segment, learns)?;
            route.push('/');
            route.push_str(name);
            node = child;
        }
        if let Some(route) = &node.route {
            return Some(Arc::clone(route));
        }
        if !learns {
            return None;
        }
        if route.is_empty() {
            route.push('/');
        }
        let route: Arc<str> = route.into();
        node.route = Some(Arc::clone(&route));
        self.routes += 1;
        Some(route)
    }
}

impl Node {
    /// What is beneath, by its name or among the identifiers, and what it is
    /// called here.
    fn child(&mut self, name: &str, learns: bool) -> Option<(&str, &mut Self)> {
        let place = |name: &str| self.children.iter().position(|(own, _)| **own == *name);
        let full = self.children.len() >= CHILDREN;
        let known = place(name).or_else(|| full.then(|| place(ID)).flatten());
        let known = match known {
            Some(known) => known,
            None if !learns => return None,
            None => {
                let name = if full { ID } else { name };
                self.children.push((name.into(), Self::default()));
                self.children.len() - 1
            }
        };
        let (name, child) = self.children.get_mut(known)?;
        Some((&**name, child))
    }
}
