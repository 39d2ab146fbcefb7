"""The API's document for people: one plain page, without a script, made from the OpenAPI document itself."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, render_template

blueprint = Blueprint("api_docs", __name__)
METHODS = ("get", "post", "put", "patch", "delete")


def _fields(document: dict[str, Any], content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a body: name, type, whether it must be there, and what it means."""
    schema = next(iter(content.values()))["schema"]
    schema = schema.get("items", schema)
    if "$ref" not in schema:  # a file has no fields
        return []
    schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return [
        {
            "name": name,
            "type": _type(field),
            "required": name in schema.get("required", []),
            "description": field.get("description", ""),
        }
        for name, field in schema["properties"].items()
    ]


def _type(field: dict[str, Any]) -> str:
    """Return the type of *field* in a word or two."""
    if "enum" in field:
        return " | ".join(str(choice) for choice in field["enum"])
    kinds = field.get("type", "object")
    return " or ".join(kinds) if isinstance(kinds, list) else str(kinds)


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of *operation*."""
    body = operation.get("requestBody", {}).get("content")
    answers = [
        {
            "status": status,
            "description": response["description"],
            "fields": _fields(document, response["content"]) if int(status) < 300 and "content" in response else [],
        }
        for status, response in sorted(operation["responses"].items())
    ]
    return {
        "id": f"{method}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '')}",
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "signed_in": "security" in operation,
        "query": [p for p in operation.get("parameters", []) if p["in"] == "query"],
        "body": _fields(document, body) if body else [],
        "answers": answers,
    }


@blueprint.get("/api/docs")
def docs() -> str:
    """Show all operations by topic."""
    document = current_app.extensions["flask-smorest"]["apis"][""]["ext_obj"].spec.to_dict()
    topics: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                operation = operations[method]
                topics[operation["tags"][0]].append(_operation(document, method, path, operation))
    return render_template("api_docs.html", document=document, topics=topics)
