//! Events as terms, and histories as text.

use super::term::{Term, TermError};
use super::{Answer, Asked, Event, F, Fault, Found, History, Miss, Process, Step, Trouble, What};

/// Text that is no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the history: {problem}")]
pub struct HistoryError {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl History {
    /// Jepsen's form: a map on each line.
    pub fn to_edn(&self) -> String {
        let lines = self.events.iter();
        lines.map(|event| event.to_term().to_edn() + "\n").collect()
    }

    /// A JSON object on each line.
    pub fn to_jsonl(&self) -> String {
        let lines = self.events.iter();
        lines
            .map(|event| event.to_term().to_json().to_string() + "\n")
            .collect()
    }

    /// Reads Jepsen's form.
    ///
    /// # Errors
    /// [`HistoryError`] for the first line that is no event of this product.
    pub fn parse_edn(text: &str) -> Result<Self, HistoryError> {
        parse(text, Term::parse_edn)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`HistoryError`] for the first line that is no event of this product.
    pub fn parse_jsonl(text: &str) -> Result<Self, HistoryError> {
        parse(text, |line| {
            let value = serde_json::from_str(line).map_err(|error| TermError {
                at: error.column(),
                problem: error.to_string(),
            })?;
            Term::from_json(&value)
        })
    }
}

fn parse(
    text: &str,
    term: impl Fn(&str) -> Result<Term, TermError>,
) -> Result<History, HistoryError> {
    let mut events = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let event = term(line).map_err(|error| error.to_string());
        let event = event.and_then(|term| Event::only(&term).map_err(|Wrong(what)| what));
        events.push(event.map_err(|problem| HistoryError {
            line: at + 1,
            problem,
        })?);
    }
    Ok(History { events })
}

/// A term that is not what belongs there.
struct Wrong(String);

impl Event {
    fn to_term(&self) -> Term {
        let process = match self.process {
            Process::Client(number) => Term::Int(number),
            Process::Nemesis => Term::word("nemesis"),
        };
        let (kind, f, value, error) = self.what.parts();
        let mut members = vec![
            ("index", Term::Int(self.index)),
            ("time", Term::Int(self.time_ns)),
            ("process", process),
            ("type", Term::word(kind)),
            ("f", Term::word(f)),
            ("value", value),
        ];
        members.extend(error.map(|error| ("error", Term::word(error))));
        members.extend(self.node.map(|node| ("node", Term::Int(node))));
        map(members)
    }

    /// Reads an event that says nothing else: what is not understood must not be passed over.
    fn only(term: &Term) -> Result<Self, Wrong> {
        let event = Self::from_term(term)?;
        let read = event.to_term();
        if read.to_json() == term.to_json() {
            return Ok(event);
        }
        Err(Wrong(format!("says more or less than `{}`", read.to_edn())))
    }

    fn from_term(term: &Term) -> Result<Self, Wrong> {
        let map = Map(term);
        let process = match map.want("process")? {
            Term::Int(number) => Process::Client(*number),
            other if other.as_str() == Some("nemesis") => Process::Nemesis,
            other => return Err(Wrong(format!("process `{}` is unknown", other.to_edn()))),
        };
        Ok(Self {
            index: map.int("index")?,
            time_ns: map.int("time")?,
            process,
            node: map.maybe_int("node")?,
            what: What::read(&map, process)?,
        })
    }
}

impl What {
    /// `:type`, `:f`, `:value` and `:error`.
    fn parts(&self) -> (&'static str, &str, Term, Option<&str>) {
        match self {
            Self::Asked(asked) => ("invoke", asked.f().as_str(), asked.to_term(), None),
            Self::Answered { f, answer } => ("ok", f.as_str(), answer.to_term(), None),
            Self::Failed(trouble) => trouble.parts("fail"),
            Self::Unknown(trouble) => trouble.parts("info"),
            Self::Fault(fault) => ("info", &fault.name, fault.to_term(), None),
        }
    }

    fn read(map: &Map<'_>, process: Process) -> Result<Self, Wrong> {
        let (kind, f) = (map.str("type")?, map.str("f")?);
        let value = Map(map.want("value")?);
        if process == Process::Nemesis {
            if kind != "info" {
                return Err(Wrong(format!("type `{kind}` of the nemesis")));
            }
            return Fault::read(f, &value).map(Self::Fault);
        }
        let f = F::parse(f)?;
        match kind {
            "invoke" => Asked::read(f, &value).map(Self::Asked),
            "ok" => Answer::read(&value).map(|answer| Self::Answered { f, answer }),
            "fail" => Trouble::read(f, map, &value).map(Self::Failed),
            "info" => Trouble::read(f, map, &value).map(Self::Unknown),
            other => Err(Wrong(format!("type `{other}` is unknown"))),
        }
    }
}

impl F {
    fn parse(word: &str) -> Result<Self, Wrong> {
        let found = Self::ALL.into_iter().find(|f| f.as_str() == word);
        found.ok_or_else(|| Wrong(format!("operation `{word}` is unknown")))
    }
}

impl Asked {
    fn to_term(&self) -> Term {
        let mut members: Vec<_> = self
            .key()
            .map(|key| ("key", Term::text(key)))
            .into_iter()
            .collect();
        match self {
            Self::Attest { .. } | Self::Get { .. } => {}
            Self::Receipt { seq } => members.push(("seq", Term::Int(*seq))),
            Self::Reinstate { output, .. } | Self::Revoke { output, .. } => {
                members.push(("output", Term::text(output)));
            }
            Self::Set { output, ttl_ms, .. } => {
                members.push(("output", Term::text(output)));
                members.push(("ttl-ms", Term::Int(*ttl_ms)));
            }
            Self::Supersede { successor, .. } => members.push(("successor", Term::text(successor))),
        }
        map(members)
    }

    fn read(f: F, value: &Map<'_>) -> Result<Self, Wrong> {
        let key = || value.text("key");
        let output = || value.text("output");
        Ok(match f {
            F::Attest => Self::Attest { key: key()? },
            F::Get => Self::Get { key: key()? },
            F::Receipt => Self::Receipt {
                seq: value.int("seq")?,
            },
            F::Reinstate => Self::Reinstate {
                key: key()?,
                output: output()?,
            },
            F::Revoke => Self::Revoke {
                key: key()?,
                output: output()?,
            },
            F::Set => Self::Set {
                key: key()?,
                output: output()?,
                ttl_ms: value.int("ttl-ms")?,
            },
            F::Supersede => Self::Supersede {
                key: key()?,
                successor: value.text("successor")?,
            },
        })
    }
}

impl Answer {
    fn to_term(&self) -> Term {
        let mut members = self.found.members();
        members.push(("seq", Term::Int(self.seq)));
        members.extend(self.time_us.map(|time| ("time-us", Term::Int(time))));
        members.extend(
            self.request
                .as_deref()
                .map(|id| ("request", Term::text(id))),
        );
        members.extend(self.replayed.then_some(("replayed", Term::Bool(true))));
        members.extend(self.size.map(|size| ("size", Term::Int(size))));
        map(members)
    }

    fn read(value: &Map<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            seq: value.int("seq")?,
            time_us: value.maybe_int("time-us")?,
            request: value.maybe_text("request")?,
            replayed: value.flag("replayed")?,
            size: value.maybe_int("size")?,
            found: Found::read(value)?,
        })
    }
}

impl Found {
    fn members(&self) -> Vec<(&'static str, Term)> {
        let text = |key, text: &str| (key, Term::text(text));
        let found = |word| ("found", Term::word(word));
        let version = |version: &u64| ("version", Term::Int(*version));
        match self {
            Self::Attested => vec![found("attested")],
            Self::Conflict { held } => vec![found("conflict"), text("held", held)],
            Self::Hit {
                output,
                version: number,
                write_seq,
            } => vec![
                found("hit"),
                text("output", output),
                version(number),
                ("write-seq", Term::Int(*write_seq)),
            ],
            Self::Missed(miss) => {
                let reason = ("reason", Term::word(miss.as_str()));
                let successor = match miss {
                    Miss::Superseded(successor) => Some(text("successor", successor)),
                    _ => None,
                };
                [found("miss"), reason]
                    .into_iter()
                    .chain(successor)
                    .collect()
            }
            Self::Proved => vec![found("proved")],
            Self::Refused { reason, successor } => {
                let successor = successor.as_ref().map(|other| text("successor", other));
                let reason = ("reason", Term::word(reason));
                [found("refused"), reason]
                    .into_iter()
                    .chain(successor)
                    .collect()
            }
            Self::Reinstated { version: number } => vec![found("reinstated"), version(number)],
            Self::Revoked { version: number } => vec![found("revoked"), version(number)],
            Self::Superseded => vec![found("superseded")],
            Self::Written {
                version: number,
                renewed,
                expires_us,
            } => vec![
                found("written"),
                version(number),
                ("renewed", Term::Bool(*renewed)),
                ("expires-us", Term::Int(*expires_us)),
            ],
        }
    }

    fn read(value: &Map<'_>) -> Result<Self, Wrong> {
        let version = || value.int("version");
        Ok(match value.str("found")? {
            "attested" => Self::Attested,
            "conflict" => Self::Conflict {
                held: value.text("held")?,
            },
            "hit" => Self::Hit {
                output: value.text("output")?,
                version: version()?,
                write_seq: value.int("write-seq")?,
            },
            "miss" => Self::Missed(read_miss(value)?),
            "proved" => Self::Proved,
            "refused" => Self::Refused {
                reason: value.text("reason")?,
                successor: value.maybe_text("successor")?,
            },
            "reinstated" => Self::Reinstated {
                version: version()?,
            },
            "revoked" => Self::Revoked {
                version: version()?,
            },
            "superseded" => Self::Superseded,
            "written" => Self::Written {
                version: version()?,
                renewed: value.flag("renewed")?,
                expires_us: value.int("expires-us")?,
            },
            other => return Err(Wrong(format!("answer `{other}` is unknown"))),
        })
    }
}

impl Trouble {
    fn parts(&self, kind: &'static str) -> (&'static str, &str, Term, Option<&str>) {
        let request = self.request.as_deref();
        let value = map(request
            .map(|id| ("request", Term::text(id)))
            .into_iter()
            .collect());
        (kind, self.f.as_str(), value, Some(&self.error))
    }

    fn read(f: F, event: &Map<'_>, value: &Map<'_>) -> Result<Self, Wrong> {
        let error = event.text("error")?;
        let request = value.maybe_text("request")?;
        Ok(Self { f, error, request })
    }
}

impl Fault {
    fn to_term(&self) -> Term {
        let step = match self.step {
            Step::Start => "start",
            Step::Stop => "stop",
        };
        let nodes = self.nodes.iter().copied().map(Term::Int).collect();
        map(vec![
            ("step", Term::word(step)),
            ("nodes", Term::List(nodes)),
        ])
    }

    fn read(name: &str, value: &Map<'_>) -> Result<Self, Wrong> {
        let step = match value.str("step")? {
            "start" => Step::Start,
            "stop" => Step::Stop,
            other => return Err(Wrong(format!("step `{other}` is unknown"))),
        };
        let Term::List(nodes) = value.want("nodes")? else {
            return Err(Wrong("`nodes` is no list".to_owned()));
        };
        let nodes: Option<Vec<u64>> = nodes.iter().map(Term::as_int).collect();
        Ok(Self {
            name: name.to_owned(),
            step,
            nodes: nodes.ok_or_else(|| Wrong("`nodes` are no numbers".to_owned()))?,
        })
    }
}

fn read_miss(value: &Map<'_>) -> Result<Miss, Wrong> {
    let word = value.str("reason")?;
    let miss = Miss::of_word(word, || value.text("successor"))?;
    miss.ok_or_else(|| Wrong(format!("reason `{word}` is unknown")))
}

fn map(members: Vec<(&'static str, Term)>) -> Term {
    let members = members.into_iter();
    Term::Map(
        members
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// Typed members of a map.
struct Map<'a>(&'a Term);

impl<'a> Map<'a> {
    fn want(&self, key: &str) -> Result<&'a Term, Wrong> {
        self.0
            .find(key)
            .ok_or_else(|| Wrong(format!("`{key}` is missing")))
    }

    /// `None` when it is not there; an error when it is something else.
    fn maybe<T>(
        &self,
        key: &str,
        read: impl Fn(&'a Term) -> Option<T>,
    ) -> Result<Option<T>, Wrong> {
        let found = self.0.find(key);
        let read = |term| read(term).ok_or_else(|| Wrong(format!("`{key}` is of another kind")));
        found.map(read).transpose()
    }

    fn int(&self, key: &str) -> Result<u64, Wrong> {
        self.want(key)?;
        Ok(self.maybe_int(key)?.unwrap_or_default())
    }

    fn maybe_int(&self, key: &str) -> Result<Option<u64>, Wrong> {
        self.maybe(key, Term::as_int)
    }

    fn str(&self, key: &str) -> Result<&'a str, Wrong> {
        let found = self.maybe(key, Term::as_str)?;
        found.ok_or_else(|| Wrong(format!("`{key}` is missing")))
    }

    fn text(&self, key: &str) -> Result<String, Wrong> {
        self.str(key).map(str::to_owned)
    }

    fn maybe_text(&self, key: &str) -> Result<Option<String>, Wrong> {
        self.maybe(key, |term| term.as_str().map(str::to_owned))
    }

    fn flag(&self, key: &str) -> Result<bool, Wrong> {
        let flag = |term: &Term| match term {
            Term::Bool(yes) => Some(*yes),
            _ => None,
        };
        Ok(self.maybe(key, flag)?.unwrap_or(false))
    }
}
