"""What moto's EC2 lacks, in front of it: the parts of AWS in which fleets are lost.

A WSGI layer before moto's own HTTP server. It adds client tokens (the same answer again, a mismatch,
a token whose instances have ended), a listing that lags behind, calls that take a while and are done
although the caller is dead, throttling, pools without capacity, partial launches, answers that are
lost after the work was done, connections that are reset, security groups that are in use, and
placement groups.

    with AwsShim() as aws:
        aws.lag_s, aws.in_flight_s = 1.0, 0.5
        aws.fail("RunInstances", error("RequestLimitExceeded", 503), times=2)
        ...
        assert aws.bodies("RunInstances")

Every request is kept (`requests`), so what was really sent can be asserted on.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")

from aws_placement import PlacementGroups, tags_in, unable
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ACCOUNT = "123456789012"
REGION = "us-east-1"
DRY_RUNS_THAT_MOTO_DOES = frozenset({"CreateFleet", "CreateLaunchTemplate", "CreatePlacementGroup"})
Params = dict[str, str]
Answer = tuple[str, list[tuple[str, str]], bytes]


@dataclass(frozen=True)
class Request:
    """One request as it came in; `params` is flat, as EC2's query protocol has it."""

    action: str
    params: Params
    region: str

    def tags(self, kind: str) -> dict[str, str]:
        """The tags asked for at the creation of one kind of thing."""
        for number in range(1, 10):
            prefix = f"TagSpecification.{number}."
            if self.params.get(f"{prefix}ResourceType") == kind:
                return {
                    self.params[f"{prefix}Tag.{n}.Key"]: self.params[f"{prefix}Tag.{n}.Value"]
                    for n in range(1, 60)
                    if f"{prefix}Tag.{n}.Key" in self.params
                }
        return {}


@dataclass(frozen=True)
class Fault:
    """What happens to a request instead of, or after, its work.

    Attributes:
        code: The error that is answered; empty: the connection is reset without an answer.
        done: The work is done all the same.
        at_most: A launch makes no more than so many instances, and is answered as usual.
        entries: A fleet's answer has an entry in `Errors` for each of these codes.
    """

    code: str = ""
    status: int = 400
    done: bool = False
    at_most: int | None = None
    message: str = "scripted"
    entries: tuple[str, ...] = ()


def error(code: str, status: int = 400, *, done: bool = False, message: str = "scripted") -> Fault:
    """An error answer; with `done`, after the work."""
    return Fault(code=code, status=status, done=done, message=message)


def reset(*, done: bool = False) -> Fault:
    """No answer at all."""
    return Fault(done=done)


def at_most(count: int) -> Fault:
    """A partial launch."""
    return Fault(at_most=count)


def fleet_errors(*codes: str, at_most: int = 0) -> Fault:
    """A fleet that is not filled: so many instances, and why not more, one code a pool."""
    return Fault(at_most=at_most, entries=codes)


@dataclass
class _Token:
    params: Params
    answer: Answer
    ids: list[str]


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        pass


@dataclass
class AwsShim:
    """The server. Attributes may be changed while it runs.

    Attributes:
        lag_s: A new instance is listed, and can be tagged or ended, only after so long.
        same_index: Every instance of a launch has the launch index 0.
        in_flight_s: A launch takes so long, and is done although its caller has gone.
        empty: Pools (type, subnet id) without capacity.
        on_launch: Told the moto instances of a launch before they are listed.
        on_end: Told the ids of instances that have ended.
        on_image: Told the id of the instance of which an image is made.
        remembers_tokens: As EC2 does and moto does not.
        denied: What every request of an action is answered, dry runs included; `*`: of any action.
    """

    lag_s: float = 0.0
    in_flight_s: float = 0.0
    remembers_tokens: bool = True
    same_index: bool = False
    empty: set[tuple[str, str]] = field(default_factory=set)
    on_launch: Callable[[list[Any]], None] = lambda _instances: None
    on_end: Callable[[list[str]], None] = lambda _ids: None
    on_image: Callable[[str], None] = lambda _id: None
    denied: dict[str, Fault] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    busy: int = 0  # requests that are being worked on
    _faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    _tokens: dict[str, _Token] = field(default_factory=dict)
    visible_at: dict[str, float] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.placement = PlacementGroups(self._zones, unable(INSTANCE_TYPES))
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server: Any = None

    # -- for tests -----------------------------------------------------------------------------

    def __enter__(self) -> AwsShim:
        self._server = make_server(
            "127.0.0.1", 0, self._serve, threaded=True, request_handler=_Quiet
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """For `endpoint_url`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def add_image(
        self,
        name: str = "debian-12-amd64-20260101",
        arch: str = "x86_64",
        region: str = REGION,
        **said: str,
    ) -> str:
        """Register an image of which EC2 says these words more (`description`); returns its id."""
        backend = ec2_backends[ACCOUNT][region]
        image = backend.register_image(name)
        image.architecture, image.root_device_name = arch, "/dev/xvda"
        for key, words in said.items():
            setattr(image, key, words)
        return str(image.id)

    def fail(self, action: str, *faults: Fault, times: int = 1) -> None:
        """What happens to the next requests of this kind, one fault each."""
        self._faults[action].extend([*faults] * times)

    def sent(self, action: str) -> list[Request]:
        """The requests of one kind, in their order, dry runs left out."""
        return [r for r in self.requests if r.action == action and "DryRun" not in r.params]

    def counts(self) -> Counter[str]:
        """How many requests of each kind came in."""
        return Counter(request.action for request in self.requests)

    def alive(self, region: str = REGION, **tags: str) -> list[str]:
        """Ids of the instances that really are there, whatever listings say yet."""
        with self._lock:  # moto's dictionaries may be growing
            return [
                instance.id
                for instance in self.instances(region)
                if instance.state != "terminated"
                and tags.items() <= {t["key"]: t["value"] for t in instance.get_tags()}.items()
            ]

    def instances(self, region: str = REGION) -> list[Any]:
        """Moto's own objects."""
        with self._lock:
            return list(ec2_backends[ACCOUNT][region].all_instances())

    def reset(self) -> None:
        """Forget everything, moto's things included."""
        self._faults.clear()
        self.denied.clear()
        ec2_backends[ACCOUNT].reset()
        self._tokens.clear()
        self.placement.groups.clear()
        self.placement.unseen = 0
        self.visible_at.clear()
        self.requests.clear()
        self.empty.clear()
        self.lag_s = self.in_flight_s = 0.0
        self.remembers_tokens, self.same_index = True, False
        self.on_launch = self.on_end = self.on_image = lambda _it: None

    # -- the layer -----------------------------------------------------------------------------

    def _serve(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        params = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        action = params.get("Action", "")
        found = re.search(r"/(\w\w-\w+(?:-\w+)?-\d)/", environ.get("HTTP_AUTHORIZATION", ""))
        request = Request(action, params, found[1] if found else REGION)
        with self._lock:
            self.busy += 1
            if action:
                self.requests.append(request)
        try:
            answer = self.answer(environ, request, body)
        finally:
            with self._lock:
                self.busy -= 1
        if answer is None:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError  # werkzeug takes it as the client's doing
        status, headers, data = answer
        headers = [(k, v) for k, v in headers if k.lower() != "content-length"]
        start_response(status, [*headers, ("Content-Length", str(len(data)))])
        return [data]

    def answer(self, environ: dict[str, Any], request: Request, body: bytes) -> Answer | None:
        with self._lock:
            queue = self._faults.get(request.action)
            dry = request.params.get("DryRun") == "true"
            fault = queue.popleft() if queue and not dry else None
        if denied := self.denied.get(request.action, self.denied.get("*")):
            return _refuse(denied)
        if dry and request.action in DRY_RUNS_THAT_MOTO_DOES:
            return _refuse(error("DryRunOperation", 412))
        if fault and not fault.done and fault.at_most is None:
            return _refuse(fault) if fault.code else None
        answer = self.work(environ, request, fault) if request.action else None
        if answer is None:
            answer = self.forward(environ, body)
        if fault and fault.done:
            return _refuse(fault) if fault.code else None
        return answer

    def work(self, environ: dict[str, Any], request: Request, fault: Fault | None) -> Answer | None:
        """What differs from moto; None: nothing does."""
        if request.params.get("DryRun") == "true":
            return None
        work: dict[str, Callable[[], Answer | None]] = {
            "RunInstances": lambda: self._run_instances(
                environ, request, fault.at_most if fault else None
            ),
            "CreateFleet": lambda: self._create_fleet(environ, request, fault),
            "DescribeInstances": lambda: self._describe_instances(environ, request),
            "TerminateInstances": lambda: self._terminate_instances(environ, request),
            "CreateTags": lambda: self._create_tags(environ, request),
            "CreatePlacementGroup": lambda: self._answered(
                self.placement.create(
                    request.region, request.params, request.tags("placement-group")
                )
            ),
            "DescribePlacementGroups": lambda: self._answered(
                self.placement.describe(request.region, request.params)
            ),
            "DeletePlacementGroup": lambda: self._answered(
                self.placement.delete(request.region, request.params)
            ),
            "DeleteSecurityGroup": lambda: self._delete_group(request),
            "CreateImage": lambda: self._create_image(environ, request),
            "DeleteSnapshot": lambda: self._delete_snapshot(request),
        }
        return work.get(request.action, lambda: None)()

    def forward(self, environ: dict[str, Any], body: bytes) -> Answer:
        status: list[Any] = []

        def start_response(code: str, headers: list[tuple[str, str]], _exc: Any = None) -> None:
            status[:] = [code, headers]

        inner = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        with self._lock:  # moto keeps its things in plain dictionaries
            data = b"".join(self._moto(inner, start_response))
        return status[0], status[1], data

    def _run_instances(
        self, environ: dict[str, Any], request: Request, cap: int | None
    ) -> Answer | None:
        params = dict(request.params)
        token = params.get("ClientToken", "")
        time.sleep(self.in_flight_s)
        with self._lock:
            known = self._tokens.get(token) if self.remembers_tokens else None
            if known:
                return self._same_again(known, params)
            subnet = params.get("NetworkInterface.1.SubnetId") or params.get("SubnetId", "")
            pool = (params.get("InstanceType", ""), subnet)
            group = params.get("Placement.GroupName", "")
            if refused := self._not_in_group(request.region, group, *pool):
                return refused
            if pool in self.empty:
                return _refuse(error("InsufficientInstanceCapacity", 500))
            if cap is not None:
                params["MaxCount"] = str(min(cap, int(params["MaxCount"])))
            # moto takes MinCount for the number that is made.
            params["MinCount"] = params["MaxCount"]
            status, headers, data = self.forward(environ, urlencode(params).encode())
            ids = re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", data)
            names = [id_.decode() for id_ in ids]
            made = [i for i in self.instances(request.region) if i.id in names]
            made.sort(key=lambda i: names.index(i.id))
            if group:
                self.placement.join(request.region, group, names)
            if self.same_index:
                data = re.sub(rb"(<amiLaunchIndex>)\d+", rb"\g<1>0", data)
                for instance in made:
                    instance.ami_launch_index = 0
            if token and status.startswith("200"):
                self._tokens[token] = _Token(request.params, (status, headers, data), names)
            for id_ in names:
                self.visible_at[id_] = time.monotonic() + self.lag_s
        self.on_launch(made)
        return status, headers, data

    def _create_fleet(
        self, environ: dict[str, Any], request: Request, fault: Fault | None
    ) -> Answer:
        params, token = dict(request.params), request.params.get("ClientToken", "")
        with self._lock:
            if known := self._tokens.get(token):
                return self._same_again(known, params)
            pools = self._fleet_pools(request)
            if len(set(pools)) < len(pools):
                said = "The fleet configuration contains duplicate instance pools."
                return _refuse(error("InvalidFleetConfig", message=said))
            group = self._group_of_template(request)
            for kind, zone in pools:
                if said := group and self.placement.refusal(request.region, group, kind, zone):
                    return _refuse(error(said[0], message=said[1]))
            if fault and fault.at_most is not None:
                capacity = "TargetCapacitySpecification.TotalTargetCapacity"
                params[capacity] = str(min(fault.at_most, int(params[capacity])))
            status, headers, data = self.forward(environ, urlencode(params).encode())
            entries = "".join(
                f"<item><errorCode>{code}</errorCode><errorMessage>scripted</errorMessage></item>"
                for code in (fault.entries if fault else ())
            )
            end = b"</CreateFleetResponse>"
            data = data.replace(end, f"<errorSet>{entries}</errorSet>".encode() + end)
            ids = re.findall(r"i-[0-9a-f]{17}", data.decode())
            if group:
                self.placement.join(request.region, group, ids)
            if status.startswith("200"):
                self._tokens[token] = _Token(request.params, (status, headers, data), ids)
            for id_ in ids:
                self.visible_at[id_] = time.monotonic() + self.lag_s
        return status, headers, data

    def _fleet_pools(self, request: Request) -> list[tuple[str, str]]:
        """Type and zone of each override: what EC2 calls an instance pool."""
        zones = {
            subnet.id: subnet.availability_zone
            for subnet in ec2_backends[ACCOUNT][request.region].describe_subnets()
        }
        prefixes = [f"LaunchTemplateConfigs.1.Overrides.{n}." for n in range(1, 300)]
        return [
            (request.params[f"{it}InstanceType"], zones[request.params[f"{it}SubnetId"]])
            for it in prefixes
            if f"{it}InstanceType" in request.params
        ]

    def _create_image(self, environ: dict[str, Any], request: Request) -> Answer:
        """Only of what is stopped and of a name that is free; tags its snapshot, which moto does not."""
        backend, params = ec2_backends[ACCOUNT][request.region], dict(request.params)
        if any(image.name == params["Name"] for image in backend.describe_images()):
            return _refuse(error("InvalidAMIName.Duplicate", message="the name is in use"))
        states = {i.id: i.state for i in self.instances(request.region)}
        if states.get(params["InstanceId"]) != "stopped":  # else it would be restarted, unasked
            return _refuse(error("IncorrectInstanceState"))
        kept = {k: v for k, v in params.items() if not k.startswith("TagSpecification")}
        for number, (key, value) in enumerate(request.tags("image").items(), start=1):
            tag = f"TagSpecification.1.Tag.{number}"
            kept |= {f"{tag}.Key": key, f"{tag}.Value": value}
        kept["TagSpecification.1.ResourceType"] = "image"
        answer = self.forward(environ, urlencode(kept).encode())
        found = re.search(rb"<imageId>(ami-[0-9a-f]+)</imageId>", answer[2])
        if found:
            image = backend.amis[found[1].decode()]
            image.root_device_name = "/dev/xvda"
            image.ebs_snapshot.add_tags(request.tags("snapshot"))
            self.on_image(params["InstanceId"])
        return answer

    def _delete_snapshot(self, request: Request) -> Answer | None:
        """One that an image needs cannot go."""
        id_ = request.params["SnapshotId"]
        images = ec2_backends[ACCOUNT][request.region].amis.values()
        if any(image.ebs_snapshot.id == id_ for image in images):
            return _refuse(error("InvalidSnapshot.InUse", message=f"{id_} is in use by an image"))
        return None

    def _group_of_template(self, request: Request) -> str:
        """The placement group of a fleet's launch template, or nothing."""
        spec = "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName"
        name = request.params.get(spec, "")
        made = [r.params for r in self.sent("CreateLaunchTemplate")]
        (own,) = {
            params.get("LaunchTemplateData.Placement.GroupName", "")
            for params in made
            if params["LaunchTemplateName"] == name
        } or {""}
        return own

    def _not_in_group(self, region: str, group: str, kind: str, subnet: str) -> Answer | None:
        zones = {
            s.id: s.availability_zone for s in ec2_backends[ACCOUNT][region].describe_subnets()
        }
        said = self.placement.refusal(region, group, kind, zones[subnet]) if group else None
        return _refuse(error(said[0], message=said[1])) if said else None

    def _zones(self, region: str) -> dict[str, str]:
        """The zone of each instance that has not ended."""
        there = [i for i in self.instances(region) if i.state != "terminated"]
        return {instance.id: instance.placement.zone for instance in there}

    @staticmethod
    def _answered(said: str | tuple[str, str]) -> Answer:
        if isinstance(said, tuple):
            return _refuse(error(said[0], message=said[1]))
        return "200 OK", [("Content-Type", "text/xml")], said.encode()

    def _create_tags(self, environ: dict[str, Any], request: Request) -> Answer | None:
        """Of placement groups here, of what else there is by moto."""
        if unseen := self._unseen(request, "ResourceId."):
            return unseen
        ids = [v for k, v in request.params.items() if k.startswith("ResourceId.")]
        others = [id_ for id_ in ids if not id_.startswith("pg-")]
        self.placement.tag(request.region, ids, tags_in(request.params))
        if len(others) == len(ids):
            return None
        rest = {k: v for k, v in request.params.items() if not k.startswith("ResourceId.")}
        numbered = {f"ResourceId.{n}": id_ for n, id_ in enumerate(others, start=1)}
        return self.forward(environ, urlencode(rest | numbered).encode())

    def _same_again(self, known: _Token, params: Params) -> Answer:
        ignored = ("MinCount", "Action", "Version")
        before = {k: v for k, v in known.params.items() if k not in ignored}
        if before != {k: v for k, v in params.items() if k not in ignored}:
            return _refuse(error("IdempotentParameterMismatch"))
        states = {i.id: i.state for r in ec2_backends[ACCOUNT] for i in self.instances(r)}
        if known.ids and all(states.get(id_) in ("terminated", None) for id_ in known.ids):
            return _refuse(error("IdempotentInstanceTerminated"))
        return known.answer

    def _describe_instances(self, environ: dict[str, Any], request: Request) -> Answer:
        """Leave out what is not visible yet; do the filter that moto does not know."""
        params, wanted = _without_filter(request.params, "client-token")
        status, headers, data = self.forward(environ, urlencode(params).encode())
        if not status.startswith("200"):
            return status, headers, data
        now = time.monotonic()
        with self._lock:
            hidden = {id_ for id_, at in self.visible_at.items() if at > now}
            shown = None
            if wanted is not None:
                shown = {i for t, known in self._tokens.items() if t in wanted for i in known.ids}
        return status, headers, _filtered(data, hidden, shown)

    def _terminate_instances(self, environ: dict[str, Any], request: Request) -> Answer:
        if unseen := self._unseen(request, "InstanceId."):
            return unseen
        ids = [v for k, v in request.params.items() if k.startswith("InstanceId.")]
        for instance in self.instances(request.region):  # moto: from being stopped only
            if instance.id in ids and str(instance.disable_api_stop).lower() == "true":
                said = f"The instance '{instance.id}' may not be terminated."
                return _refuse(error("OperationNotPermitted", message=said))
        answer = self.forward(environ, urlencode(request.params).encode())
        if answer[0].startswith("200"):
            self.on_end(ids)
        return answer

    def _unseen(self, request: Request, key: str) -> Answer | None:
        """The refusal of a call on instances of which one is not visible yet."""
        now = time.monotonic()
        ids = [v for k, v in request.params.items() if k.startswith(key)]
        unseen = [id_ for id_ in ids if self.visible_at.get(id_, 0) > now]
        message = f"The instance IDs '{', '.join(unseen)}' do not exist"
        return _refuse(error("InvalidInstanceID.NotFound", message=message)) if unseen else None

    def _delete_group(self, request: Request) -> Answer | None:
        wanted = request.params.get("GroupId")
        for instance in self.instances(request.region):
            groups = {group.id for group in instance.security_groups} | {
                group.id for nic in instance.nics.values() for group in nic.group_set
            }
            if instance.state != "terminated" and wanted in groups:
                return _refuse(error("DependencyViolation", message=f"{wanted} is in use"))
        return None


def _refuse(fault: Fault) -> Answer:
    text = (
        f"<Response><Errors><Error><Code>{fault.code}</Code><Message>{fault.message}</Message>"
        "</Error></Errors><RequestID>shim</RequestID></Response>"
    )
    return f"{fault.status} scripted", [("Content-Type", "text/xml")], text.encode()


def _without_filter(params: Params, name: str) -> tuple[Params, set[str] | None]:
    """The parameters without one filter, and the values it had (None: it was not there)."""
    filters: dict[str, dict[str, str]] = defaultdict(dict)
    rest: Params = {}
    for key, value in params.items():
        if found := re.fullmatch(r"Filter\.(\d+)\.(.+)", key):
            filters[found[1]][found[2]] = value
        else:
            rest[key] = value
    wanted: set[str] | None = None
    number = 0
    for entries in filters.values():
        if entries.get("Name") == name:
            wanted = {value for key, value in entries.items() if key.startswith("Value")}
            continue
        number += 1
        rest |= {f"Filter.{number}.{key}": value for key, value in entries.items()}
    return rest, wanted


def _filtered(data: bytes, hidden: set[str], shown: set[str] | None) -> bytes:
    """A DescribeInstances answer without some instances."""
    if not hidden and shown is None:
        return data
    space = re.search(rb'xmlns="([^"]+)"', data)
    name = space[1].decode() if space else ""
    ElementTree.register_namespace("", name)
    root = ElementTree.fromstring(data)
    tag = f"{{{name}}}" if name else ""
    for reservation in root.iter(f"{tag}reservationSet"):
        for item in list(reservation):
            instances = item.find(f"{tag}instancesSet")
            if instances is None:
                continue
            for instance in list(instances):
                id_ = instance.findtext(f"{tag}instanceId") or ""
                if id_ in hidden or (shown is not None and id_ not in shown):
                    instances.remove(instance)
            if not len(instances):
                reservation.remove(item)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def user_data_of(request: Request) -> dict[str, Any]:
    """The cloud-config of a RunInstances request."""
    text = base64.b64decode(request.params["UserData"]).decode()
    head, _, config = text.partition("\n")
    assert head == "#cloud-config"
    loaded: dict[str, Any] = json.loads(config)
    return loaded
