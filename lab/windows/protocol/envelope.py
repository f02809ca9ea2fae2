"""WS-Management messages: reading requests, writing answers and faults (DSP0226, MS-WSMV)."""

import base64
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
NAMES = {
    "s": SOAP,
    "a": ADDRESSING,
    "w": WSMAN,
    "x": TRANSFER,
    "rsp": SHELL,
    "ps": "http://schemas.microsoft.com/powershell",
}
_FAULT_ACTION = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
_IDENTITY = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
_DECLARED = f'xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:x="{TRANSFER}" xmlns:w="{WSMAN}" xmlns:rsp="{SHELL}"'

#: Subcode, code and text as Windows Server 2022 answers them.
_FAULTS: Mapping[str, tuple[str, int, str]] = {
    "timed-out": (
        "w:TimedOut",
        2150858793,
        "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.",
    ),
    "no-shell": (
        "w:InvalidSelectors",
        2150858843,
        "The request for the Windows Remote Shell with ShellId {0} failed because the shell was not found on the"
        " server. Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the"
        " server. Provide the correct ShellId or create a new shell and retry the operation.",
    ),
    "unsupported": (
        "a:ActionNotSupported",
        2150858752,
        "The WS-Management service does not support the action {0}.",
    ),
}


class WsmanFault(Exception):
    """The request is answered by a fault: `timed-out`, `no-shell` or `unsupported`."""

    def __init__(self, kind: str, *words: str) -> None:
        super().__init__(_FAULTS[kind][2].format(*words))
        self.kind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message of the client. `seconds` is how long the client is ready to wait for output."""

    action: str
    message_id: str
    resource: str
    shell_id: str
    seconds: float
    body: ET.Element

    @property
    def verb(self) -> str:
        return self.action.rsplit("/", 1)[-1]

    def answer(self, body: str) -> str:
        return _envelope(f"{self.action}Response", self.message_id, body)


def read(raw: bytes) -> Request | None:
    """Read a request; None where it is the question who is there (wsmid:Identify), which has no action."""
    root = ET.fromstring(raw)
    head, body = root.find("s:Header", NAMES), root.find("s:Body", NAMES)
    if body is None or head is None or head.find("a:Action", NAMES) is None:
        return None
    selectors = head.findall("w:SelectorSet/w:Selector", NAMES)
    patience = re.fullmatch(r"PT([\d.]+)S", head.findtext("w:OperationTimeout", "PT60S", NAMES))
    return Request(
        action=head.findtext("a:Action", "", NAMES),
        message_id=head.findtext("a:MessageID", "", NAMES),
        resource=head.findtext("w:ResourceURI", "", NAMES),
        shell_id=next((one.text or "" for one in selectors if one.get("Name") == "ShellId"), ""),
        seconds=float(patience.group(1)) if patience else 60.0,
        body=body,
    )


def fault(problem: WsmanFault, raw: bytes, machine: str) -> str:
    """Write the fault that answers a request."""
    subcode, code, _ = _FAULTS[problem.kind]
    text = escape(str(problem))
    request = read(raw)
    detail = (
        f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{code}"'
        f' Machine="{machine}"><f:Message>{text}</f:Message></f:WSManFault>'
    )
    return _envelope(
        _FAULT_ACTION,
        request.message_id if request else "",
        f"<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en-US">{text}</s:Text></s:Reason><s:Detail>{detail}</s:Detail></s:Fault>',
    )


def identity() -> str:
    """Say who is there: the answer to wsmid:Identify."""
    return (
        f'<s:Envelope xmlns:s="{SOAP}" xmlns:i="{_IDENTITY}"><s:Header/><s:Body><i:IdentifyResponse>'
        f"<i:ProtocolVersion>{WSMAN}</i:ProtocolVersion><i:ProductVendor>Microsoft Corporation</i:ProductVendor>"
        "<i:ProductVersion>OS: 10.0.20348 SP: 0.0 Stack: 3.0</i:ProductVersion>"
        "</i:IdentifyResponse></s:Body></s:Envelope>"
    )


def created(request: Request, machine: str, shell_id: str, user: str) -> str:
    """Write that a shell was made."""
    resource = escape(request.resource)
    return request.answer(
        f"<x:ResourceCreated><a:Address>http://{machine}/wsman</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{resource}</w:ResourceURI><w:SelectorSet>"
        f'<w:Selector Name="ShellId">{shell_id}</w:Selector></w:SelectorSet></a:ReferenceParameters>'
        "</x:ResourceCreated>"
        f"<rsp:Shell><rsp:ShellId>{shell_id}</rsp:ShellId><rsp:ResourceUri>{resource}</rsp:ResourceUri>"
        f"<rsp:Owner>{escape(user)}</rsp:Owner><rsp:ClientIP>127.0.0.1</rsp:ClientIP>"
        "<rsp:IdleTimeOut>PT7200.000S</rsp:IdleTimeOut><rsp:InputStreams>stdin</rsp:InputStreams>"
        "<rsp:OutputStreams>stdout stderr</rsp:OutputStreams><rsp:ShellRunTime>P0DT0H0M0S</rsp:ShellRunTime>"
        "</rsp:Shell>"
    )


def received(request: Request, command_id: str, streams: Mapping[str, bytes], exit_code: int | None) -> str:
    """Write output of a command, or of the whole shell; an exit code says that it has ended."""
    of = f' CommandId="{command_id}"' if command_id else ""
    words = [
        f'<rsp:Stream Name="{name}"{of}>{base64.b64encode(data).decode()}</rsp:Stream>'
        for name, data in streams.items()
        if data
    ]
    if command_id and exit_code is None:
        words.append(f'<rsp:CommandState{of} State="{SHELL}/CommandState/Running"/>')
    elif command_id:
        words += [f'<rsp:Stream Name="{name}"{of} End="true"/>' for name in streams]
        words.append(
            f'<rsp:CommandState{of} State="{SHELL}/CommandState/Done"><rsp:ExitCode>{exit_code}</rsp:ExitCode>'
            "</rsp:CommandState>"
        )
    return request.answer(f"<rsp:ReceiveResponse>{''.join(words)}</rsp:ReceiveResponse>")


def _envelope(action: str, relates_to: str, body: str) -> str:
    return (
        f'<s:Envelope xml:lang="en-US" {_DECLARED}><s:Header><a:Action>{action}</a:Action>'
        f"<a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID><a:To>{ADDRESSING}/role/anonymous</a:To>"
        f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
