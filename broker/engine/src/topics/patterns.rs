//! Subscriptions by pattern, found by the names that they match.
//!
//! A tree of levels: finding all patterns of a name walks only branches that fit it, so patterns
//! that do not match cost nothing.

use std::collections::HashMap;

use fanfare_protocol::TopicPattern;

/// A value for each pattern.
#[derive(Debug)]
pub(crate) struct PatternTree<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Debug)]
struct Node<V> {
    /// For the pattern that ends here.
    here: Option<V>,
    /// For the pattern that ends here with `>`.
    rest: Option<V>,
    /// Behind a level `*`.
    any: Option<Box<Self>>,
    levels: HashMap<Box<str>, Self>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self { here: None, rest: None, any: None, levels: HashMap::new() }
    }
}

impl<V> Default for PatternTree<V> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<V: Default> PatternTree<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, pattern: &TopicPattern) -> Option<&V> {
        let mut node = &self.root;
        for level in pattern.as_str().split('.') {
            node = match level {
                ">" => return node.rest.as_ref(),
                "*" => node.any.as_deref()?,
                name => node.levels.get(name)?,
            };
        }
        node.here.as_ref()
    }

    /// The value of `pattern`, made if it is new.
    pub(crate) fn entry(&mut self, pattern: &TopicPattern) -> &mut V {
        let mut node = &mut self.root;
        let mut levels = pattern.as_str().split('.');
        let value = loop {
            node = match levels.next() {
                None => break &mut node.here,
                Some(">") => break &mut node.rest,
                Some("*") => node.any.get_or_insert_default(),
                Some(name) => node.levels.entry(name.into()).or_default(),
            };
        };
        if value.is_none() {
            self.len += 1;
        }
        value.get_or_insert_default()
    }

    pub(crate) fn remove(&mut self, pattern: &TopicPattern) -> Option<V> {
        let mut levels = pattern.as_str().split('.');
        let removed = self.root.remove(&mut levels);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Calls `found` with the value of each pattern that matches the topic `name`.
    pub(crate) fn for_each_match(&self, name: &str, mut found: impl FnMut(&V)) {
        self.root.visit(Some(name), &mut found);
    }
}

impl<V: Default> Node<V> {
    fn visit(&self, rest: Option<&str>, found: &mut impl FnMut(&V)) {
        let Some(rest) = rest else {
            self.here.iter().for_each(found);
            return;
        };
        self.rest.iter().for_each(&mut *found);
        let (level, rest) = match rest.split_once('.') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        if let Some(any) = &self.any {
            any.visit(rest, found);
        }
        if let Some(node) = self.levels.get(level) {
            node.visit(rest, found);
        }
    }

    /// Removes the value at the end of the path, and nodes that nothing needs any more.
    fn remove<'a>(&mut self, levels: &mut impl Iterator<Item = &'a str>) -> Option<V> {
        match levels.next() {
            None => self.here.take(),
            Some(">") => self.rest.take(),
            Some("*") => {
                let removed = self.any.as_mut()?.remove(levels);
                self.any.take_if(|node| node.is_empty());
                removed
            }
            Some(name) => {
                let node = self.levels.get_mut(name)?;
                let removed = node.remove(levels);
                if node.is_empty() {
                    self.levels.remove(name);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_none() && self.rest.is_none() && self.any.is_none() && self.levels.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_protocol::TopicName;
    use proptest::prelude::*;

    fn levels(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(choices), 1..5)
            .prop_map(|levels| levels.join("."))
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_matching_each_pattern_finds(
            mut patterns in proptest::collection::vec(levels(&["a", "b", "*"]), 0..20),
            rests in proptest::collection::vec(levels(&["a", "*"]), 0..6),
            removed in 0usize..30,
            name in levels(&["a", "b", "c"]),
        ) {
            patterns.extend(rests.iter().map(|rest| format!("{rest}.>")));
            patterns.push(">".to_owned());
            patterns.sort();
            patterns.dedup();
            let patterns: Vec<TopicPattern> =
                patterns.iter().filter_map(|text| TopicPattern::new(text).ok()).collect();
            let mut tree = PatternTree::<String>::default();
            for pattern in &patterns {
                *tree.entry(pattern) = pattern.as_str().to_owned();
            }
            prop_assert_eq!(tree.len(), patterns.len());
            let removed = patterns.get(removed);
            if let Some(pattern) = removed {
                prop_assert_eq!(tree.remove(pattern), Some(pattern.as_str().to_owned()));
                prop_assert_eq!(tree.remove(pattern), None);
                prop_assert!(tree.get(pattern).is_none());
            }
            let name = TopicName::new(&name).unwrap();
            let mut found = Vec::new();
            tree.for_each_match(name.as_str(), |text| found.push(text.clone()));
            found.sort();
            let expected: Vec<String> = patterns.iter()
                .filter(|pattern| Some(*pattern) != removed && pattern.matches(&name))
                .map(|pattern| pattern.as_str().to_owned())
                .collect();
            prop_assert_eq!(found, expected);
            for pattern in patterns.iter().filter(|pattern| Some(*pattern) != removed) {
                tree.remove(pattern);
            }
            prop_assert!(tree.len() == 0 && tree.root.is_empty(), "nothing is left behind");
        }
    }
}
