"""One stage, instruction by instruction: variables in, then what each does to configuration and layers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

import msgspec

from sampan.build import config as c
from sampan.build import instructions as i
from sampan.build.cache import Document, Done, StepCache, key_of
from sampan.build.cache_format import Used
from sampan.build.cache_import import ImportedSteps, Wanted
from sampan.build.context import Documents
from sampan.build.copying import Wish, copy_selection
from sampan.build.fetching import OpenRemotes
from sampan.build.finishing import clamp_times, read_epoch_ns
from sampan.build.host import Host
from sampan.build.owners import (
    accounts_file,
    find_owner,
    is_octal,
    make_owned,
    needs_accounts,
    parse_mode,
)
from sampan.build.remotes import Remote, UrlSource, find_remote
from sampan.build.request import BuildRequest
from sampan.build.reusing import EarlierLayer, LayerFiles
from sampan.build.running import Runner, plan_run
from sampan.build.selecting import Selection, check_destination, select, selection_digest
from sampan.build.state import StageState
from sampan.build.trees import Tree
from sampan.build.words import Words
from sampan.errors import InvalidArgument, NotFound, SampanError, Unsupported
from sampan.store.built import Stack, top_of
from sampan.store.trees import remove_tree

_NOP = "/bin/sh -c #(nop) "
_ROOT = ("", "0", "root", "0:0", "root:root")


class Trees(Protocol):
    """Finds what `--from` names."""

    def of(self, name: str, stage: int) -> Tree:
        """Return the files of a stage or an image; they stay open for as long as the build."""
        ...


class Voice(Protocol):
    """Says what a stage does; see `voices`."""

    def say(self, text: str) -> None:
        """Say a piece of classic's stream."""
        ...

    def pass_on(self, text: str) -> None:
        """Say what a command wrote."""
        ...

    def hit(self) -> None:
        """Say that the step was found in the cache."""
        ...


class Stepper:
    """Does the instructions of one stage."""

    def __init__(
        self,
        *,
        host: Host,
        cache: StepCache,
        request: BuildRequest,
        context: Tree,
        trees: Trees,
        runner: Runner,
        remotes: OpenRemotes,
        state: StageState,
        stage: int,
        escape: str,
        voice: Voice,
        defaults: dict[str, str],
        used: set[str],
        imported: ImportedSteps,
        trace: list[Used],
        cached: bool,
    ) -> None:
        """defaults: ARGs before FROM and those of platforms; used: build-args that were asked for.

        trace: is given every step that was made or found. cached: steps may be taken from a cache.
        """
        self._host = host
        self._cache = cache
        self._request = request
        self._context = context
        self._trees = trees
        self._runner = runner
        self._remotes = remotes
        self.state = state
        self._stage = stage
        self._escape = escape
        self._voice = voice
        self._defaults = defaults
        self._used = used
        self._imported = imported
        self._trace = trace
        self._cached = cached
        self._epoch_ns = read_epoch_ns(request)
        self._dated = {} if self._epoch_ns is None else {"epoch": self._epoch_ns}

    def do(self, one: i.Instruction) -> None:
        """Do one instruction.

        Raises:
            SampanError: it cannot be done; the message is for the user.
        """
        match one:
            case i.Run():
                self._run(one)
            case i.Copy():
                self._copy(one)
            case i.Workdir():
                self._workdir(one)
            case i.Arg():
                self._arg(one)
            case _:
                text = self._configure(one)
                self._note(text)
        self._voice.say(f" ---> {self.state.short_id()}\n")

    def _words(self) -> Words:
        return Words(self.state.variables(), self._escape)

    def _note(self, text: str) -> None:
        """Record a step that makes no layer: its time is that of the first build that did it."""
        state = self.state
        document = {
            "op": "config",
            "below": top_of(state.stack) or "scratch",
            "config": msgspec.to_builtins(state.defaults),
            "history": [entry.created_by for entry in state.history] + [text],
            "author": state.author,
            "platform": str(state.platform),
            "before": state.created,
            **self._dated,
        }
        key = key_of(document)
        done = self._find(key, document, text, created_by=text, below=state.stack)
        if done is None:
            done = self._cache.record(state.stack, None, document=document, line=text, at_ns=self._epoch_ns)
        else:
            self._voice.hit()
        top = top_of(state.stack)
        self._trace.append(Used(key, top, top, None, done.created_ns))
        state.add_history(text, created_ns=done.created_ns, empty=True)

    def _configure(self, one: i.Instruction) -> str:
        """Apply an instruction that only changes the configuration; return its line of history."""
        state, words = self.state, self._words()
        before = state.defaults
        match one:
            case i.Env():
                pairs = [(words.expand(name), words.expand(value)) for name, value in one.pairs]
                state.defaults = c.set_environment(before, pairs)
                return f"{_NOP} ENV " + " ".join(f"{name}={value}" for name, value in pairs)
            case i.Label():
                pairs = [(words.expand(name), words.expand(value)) for name, value in one.pairs]
                state.defaults = c.add_labels(before, pairs)
                return f"{_NOP} LABEL " + " ".join(f"{name}={value}" for name, value in pairs)
            case i.Expose():
                ports = [port for text in one.ports for port in words.split(text)]
                state.defaults = c.expose(before, ports)
                return f"{_NOP} EXPOSE " + " ".join(ports)
            case i.Volume():
                paths = [words.expand(path) for path in one.paths]
                state.defaults = c.add_volumes(before, paths)
                return f"{_NOP} VOLUME [{' '.join(paths)}]"
            case i.User():
                user = words.expand(one.user)
                state.defaults = msgspec.structs.replace(before, User=user)
                return f"{_NOP} USER {user}"
            case i.Stopsignal():
                signal = c.check_signal(words.expand(one.signal))
                state.defaults = msgspec.structs.replace(before, StopSignal=signal)
                return f"{_NOP} STOPSIGNAL {signal}"
            case _:
                return self._configure_more(one)

    def _configure_more(self, one: i.Instruction) -> str:
        state = self.state
        before = state.defaults
        match one:
            case i.Cmd():
                words = self._command(one.command)
                state.defaults = msgspec.structs.replace(before, Cmd=words or None)
                state.has_cmd = True
                return f"{_NOP} CMD {json.dumps(words)}"
            case i.Entrypoint():
                words = self._command(one.command)
                command = before.Cmd if state.has_cmd else None
                state.defaults = msgspec.structs.replace(before, Entrypoint=words or None, Cmd=command)
                return f"{_NOP} ENTRYPOINT {json.dumps(words)}"
            case i.Onbuild():
                text = one.expression
                state.defaults = msgspec.structs.replace(before, OnBuild=[*(before.OnBuild or ()), text])
                return f"{_NOP} ONBUILD {text}"
            case i.Shell():
                state.defaults = msgspec.structs.replace(before, Shell=list(one.words))
                return f"{_NOP} SHELL [{' '.join(one.words)}]"
            case i.Healthcheck():
                state.defaults = msgspec.structs.replace(before, Healthcheck=c.health_of(one))
                return f"{_NOP} HEALTHCHECK {json.dumps(list(one.test))}"
            case i.Maintainer():
                state.author = one.author
                return f"{_NOP} MAINTAINER {one.author}"
        raise Unsupported(f"not supported yet: {one.node.keyword} here")

    def _command(self, command: i.Command) -> list[str]:
        if not command.is_shell:
            return list(command.words)
        text = command.words[0]
        return [*(self.state.defaults.Shell or ("/bin/sh", "-c")), text] if text else []

    def _arg(self, one: i.Arg) -> None:
        words = self._words()
        texts = []
        for raw_name, raw_default in one.pairs:
            name = words.expand(raw_name)
            default = words.expand(raw_default) if raw_default is not None else None
            value = self._defaults.get(name) if default is None else default
            if name in self._request.build_args:
                self._used.add(name)
                value = self._request.build_args[name]
            self.state.arguments[name] = value
            texts.append(name if default is None else f"{name}={default}")
        self._note(f"{_NOP} ARG {' '.join(texts)}")

    def _keep(
        self,
        upper: str,
        document: Document,
        line: str,
        *,
        below: Stack | None = None,
        files: LayerFiles | None = None,
    ) -> Done:
        """Make a layer of what a step has changed; below: of which layers, None for the stage's."""
        if self._epoch_ns is not None:
            clamp_times(upper, self._epoch_ns)  # before anything in it is a link
        record = files.finish(upper) if files is not None else b""
        stack = self.state.stack if below is None else below
        return self._cache.make(
            stack, upper, document=document, line=line, at_ns=self._epoch_ns, files=record
        )

    def _earlier(self, line: str) -> AbstractContextManager[Sequence[EarlierLayer]]:
        return self._cache.earlier(line) if self._cached else nullcontext(())

    def _find(self, key: str, document: Document, line: str, *, created_by: str, below: Stack) -> Done | None:
        """Look for a step in our own cache, then in those of others; what they have is ours then."""
        if not self._cached:
            return None
        done = self._cache.find(key, below)
        if done is not None or not self._request.cache_from:
            return done
        found = self._imported.find(Wanted(key, document, created_by), self.state)
        if found is None:
            return None
        offered = found.offered
        try:
            return self._cache.take(
                below,
                offered.layer,
                found.open,
                document=document,
                line=line,
                at_ns=offered.created_ns,
            )
        except (SampanError, OSError) as exc:
            self._imported.failed(found, exc)
            return None

    def _step(
        self,
        document: Document,
        line: str,
        make: Callable[[Document], Done],
        *,
        created_by: str,
        linked: bool = False,
    ) -> None:
        """Take a step from the cache, or make it; equal ones are made once.

        linked: the step makes its layer by itself, which is then put on those that are there.
        """
        document = {**document, **self._dated}
        key = key_of(document)
        state = self.state
        own: Stack = () if linked else state.stack
        with self._cache.alone(key) if self._cached else nullcontext():
            done = self._find(key, document, line, created_by=created_by, below=own)
            if done is not None:
                self._voice.hit()
            else:
                if self._request.explain:
                    self._voice.say(f" ---> Not cached: {self._cache.explain_miss(document, line)}\n")
                done = make(document)
            if linked and done.layer is not None:
                self._cache.place(state.stack, done.layer, line=line)
        below = top_of(state.stack)
        if done.layer is not None:
            state.stack = (*state.stack, done.layer)
        self._trace.append(Used(key, below, top_of(state.stack), done.layer, done.created_ns))
        state.add_history(created_by, created_ns=done.created_ns, empty=done.layer is None)

    def _run(self, one: i.Run) -> None:
        line = one.node.original
        step = plan_run(one, self.state, self._request, self._words(), self._tree)

        def make(document: Document) -> Done:
            ids: list[str] = []

            def started(container_id: str) -> None:
                ids.append(container_id[:12])
                self._voice.say(f" ---> Running in {container_id[:12]}\n")

            with self._runner.run(step, one, self.state, started=started, say=self._voice.pass_on) as upper:
                done = self._keep(upper, document, line)
            self._voice.say(f" ---> Removed intermediate container {ids[0]}\n")
            return done

        self._step(step.document, line, make, created_by=step.created_by)

    def _tree(self, name: str) -> Tree:
        return self._trees.of(name, self._stage) if name else self._context

    def _workdir(self, one: i.Workdir) -> None:
        state = self.state
        path = c.join_workdir(state.defaults, self._words().expand(one.path))
        created_by = f"{_NOP}WORKDIR {path}"
        state.defaults = msgspec.structs.replace(state.defaults, WorkingDir=path)
        if path == "/":
            self._note(created_by)
            return
        user = state.defaults.User or ""
        document = {"op": "mkdir", "below": top_of(state.stack) or "scratch", "path": path}
        if user not in _ROOT:
            document["user"] = user

        def make(document: Document) -> Done:
            with self._host.change(state.stack) as change:
                make_owned(change.root_fd, path, "" if user in _ROOT else user)
                with change.collect() as upper:
                    return self._keep(upper, document, one.node.original)

        self._step(document, one.node.original, make, created_by=created_by)

    def _copy(self, one: i.Copy) -> None:
        state, words = self.state, self._words()
        keyword = one.node.keyword
        destination = self._destination(words.expand(one.destination))
        sources = [words.expand(source) for source in one.sources]
        remotes = [(source, find_remote(source) if one.add else None) for source in sources]
        checksum = words.expand(one.checksum)
        if checksum and len(sources) != 1:
            raise InvalidArgument("checksum can't be specified for multiple sources")
        if checksum and remotes[0][1] is None:
            raise InvalidArgument("checksum requires HTTP(S) or git sources")
        chown, chmod = words.expand(one.chown), words.expand(one.chmod)
        mode = parse_mode(chmod) if chmod else None
        selections = [
            selection
            for selection in (
                *(self._select_remote(one, remote, checksum) for _, remote in remotes if remote),
                self._select(one, [source for source, remote in remotes if not remote], keyword),
                self._heredocs(one, words),
            )
            if selection is not None
        ]
        together = _joined(selections)
        check_destination(together, destination, keyword=keyword)
        content = selection_digest(together, owners=not chown)
        kept = bool(one.from_)
        unpack = one.add if one.unpack is None else one.unpack
        document: dict[str, object] = {
            "op": "copy",
            "below": top_of(state.stack) or "scratch",
            "destination": destination,
            "content": content,
            "chown": chown,
            "chmod": chmod,
            "keeps_owners": kept,
            "unpack": unpack,
        }
        if any(each.raw for each in together.picked):
            document["raw"] = [each.name for each in together.picked if each.raw and each.single]
        if one.link:  # whatever lies below: names of owners are looked up there, and are numbers from here on
            del document["below"]
            document["op"] = "link"
            if chown:
                with self._host.open_root(state.stack) as root_fd:
                    document["chown"] = list(find_owner(chown, root_fd))
        elif needs_accounts(chown):
            with self._host.open_root(state.stack) as root_fd:
                document["accounts"] = [
                    accounts_file(root_fd, file) for file in ("/etc/passwd", "/etc/group")
                ]

        def wish_of(owner: tuple[int, int] | None) -> Wish:
            return Wish(
                destination=destination,
                owner=owner if chown else None if kept else (0, 0),
                mode=mode,
                parent_mode=int(chmod, 8) if is_octal(chmod) else None,
                unpack=unpack,
                archive_owner=owner,
            )

        def make(document: Document) -> Done:
            line = one.node.original
            with self._earlier(line) as earlier, self._host.change(state.stack) as change:
                wish = wish_of(find_owner(chown, change.root_fd) if chown else None)
                files = LayerFiles(earlier) if change.in_place else None
                copy_selection(
                    change.root_fd, together, wish, spool_directory=self._host.temporary, files=files
                )
                with change.collect() as upper:
                    return self._keep(upper, document, line, files=files)

        def make_linked(document: Document) -> Done:
            with self._host.open_root(state.stack) as root_fd:
                wish = wish_of(find_owner(chown, root_fd) if chown else None)
            return self._make_alone(together, wish, document, one.node.original)

        shown = f"{_NOP}{keyword} {_kind(together)}:{content} in {destination} "
        self._step(
            document,
            one.node.original,
            make_linked if one.link else make,
            created_by=shown,
            linked=one.link,
        )

    def _make_alone(self, selection: Selection, wish: Wish, document: Document, line: str) -> Done:
        """Make a layer of files alone, in a directory of no overlay: it hides nothing that lies below."""
        folder = f"{self._host.temporary}/build-{os.urandom(8).hex()}"
        os.mkdir(folder, 0o755)
        try:
            os.chmod(folder, 0o755)  # noqa: S103 -- whatever the umask: a root directory
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with self._earlier(line) as earlier:
                files = LayerFiles(earlier)
                try:
                    copy_selection(fd, selection, wish, spool_directory=self._host.temporary, files=files)
                finally:
                    os.close(fd)
                return self._keep(folder, document, line, below=(), files=files)
        finally:
            remove_tree(folder)

    def _select(self, one: i.Copy, sources: Sequence[str], keyword: str) -> Selection | None:
        if not sources:
            return None
        try:
            selection = select(self._tree(one.from_), sources, parents=one.parents, excludes=one.excludes)
        except NotFound as exc:
            where = f"stage or image {one.from_}" if one.from_ else "build context"
            hint = "" if one.from_ else " or excluded by .dockerignore"
            raise NotFound(
                f"{keyword} failed: file not found in {where}{hint}: {str(exc).partition(':')[0]}: not found"
            ) from exc
        return selection

    def _select_remote(self, one: i.Copy, remote: Remote, checksum: str) -> Selection:
        if isinstance(remote, UrlSource) and not remote.name:
            if one.destination.endswith("/"):
                raise InvalidArgument(f"cannot determine filename for url: {remote.url}")
            remote = UrlSource(remote.url, "download")
        tree = self._remotes.of(remote, checksum=checksum, keep_git=one.keep_git_dir)
        source = f"/{remote.name}" if isinstance(remote, UrlSource) else "/"
        found = select(tree, [_literal(source)], parents=False, excludes=one.excludes)
        return replace(found, picked=tuple(replace(each, raw=not one.unpack) for each in found.picked))

    def _heredocs(self, one: i.Copy, words: Words) -> Selection | None:
        if not one.heredocs:
            return None
        contents = {
            document.name: (
                words.expand_document(document.content) if document.expand else document.content
            ).encode()
            for document in one.heredocs
        }
        return select(Documents(contents), list(contents), parents=False, excludes=())

    def _destination(self, text: str) -> str:
        path = c.join_workdir(self.state.defaults, text)
        is_directory = text.endswith(("/", "/.")) or text in ("", ".")
        return path + "/" if is_directory and path != "/" else path


def _literal(path: str) -> str:
    """Return a pattern that means a path and nothing else."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in path)


def _joined(selections: Sequence[Selection]) -> Selection:
    if len(selections) == 1:
        return selections[0]
    return Selection(
        tuple(one for selection in selections for one in selection.picked),
        sum(selection.matches for selection in selections),
        any(selection.has_directory for selection in selections),
    )


def _kind(selection: Selection) -> str:
    if selection.matches > 1:
        return "multi"
    return "dir" if selection.has_directory else "file"
