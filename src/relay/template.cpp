// relay/template.cpp: see template.hpp.
#include "relay/template.hpp"

#include <algorithm>

#include "pg/error.hpp"
#include "relay/functions.hpp"

namespace cdp::relay {
namespace {

[[noreturn]] void Fail(const std::string& what) { throw Error(sqlstate::invalid_parameter_value, what); }

// Where the expression that begins behind `from` ends: at }} outside of quotes.
size_t EndOfExpression(std::string_view text, size_t from) {
    char quote = 0;
    for (size_t i = from; i < text.size(); ++i) {
        const char c = text[i];
        if (quote) {
            if (c == '\\') ++i;
            else if (c == quote) quote = 0;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '}' && text.substr(i, 2) == "}}") {
            return i;
        }
    }
    Fail("\"}}\" is missing behind \"" + std::string(text.substr(from, 40)) + "\"");
}

}  // namespace

TextTemplate TextTemplate::Parse(std::string_view text, Names names) {
    TextTemplate result;
    while (true) {
        const size_t open = text.find("{{");
        if (open != 0 && !text.empty()) result.pieces_.push_back({std::string(text.substr(0, open)), std::nullopt});
        if (open == std::string_view::npos) return result;
        const size_t close = EndOfExpression(text, open + 2);
        result.pieces_.push_back({"", Expression::Parse(text.substr(open + 2, close - open - 2), names)});
        text.remove_prefix(close + 2);
        if (text.empty()) return result;
    }
}

Json TextTemplate::Render(const Scope& scope) const {
    if (pieces_.size() == 1 && pieces_.front().expression) return pieces_.front().expression->Evaluate(scope);
    std::string all;
    for (const Piece& piece : pieces_) {
        if (!piece.expression) {
            all += piece.text;
            continue;
        }
        const auto text = Text(piece.expression->Evaluate(scope));
        if (!text) return nullptr;
        all += *text;
    }
    Json result = std::move(all);
    scope.Spend(result);
    return result;
}

std::string TextTemplate::RenderUrl(const Scope& scope) const {
    std::string url;
    for (const Piece& piece : pieces_) {
        if (!piece.expression) {
            url += piece.text;
            continue;
        }
        const auto text = Text(piece.expression->Evaluate(scope));
        if (!text || text->empty()) Fail("a part of the URL behind \"" + url.substr(0, 100) + "\" is missing");
        if (*text == "." || *text == "..") Fail("\"" + *text + "\" cannot be a part of a URL");
        url += piece.expression->Is(Name::kEndpoint) ? *text : PercentEncoded(*text);
    }
    return url;
}

void ChangeValues::Bind(Scope& scope) const {
    scope.Set(Name::kRow, *row);
    scope.Set(Name::kKey, key);
    scope.Set(Name::kId, id);
    scope.Set(Name::kType, type);
    scope.Set(Name::kPosition, position);
}

// A node of a template's tree.
struct Template::Node {
    enum class Kind { kLiteral, kText, kList, kObject, kChanges, kEach, kFields, kAll, kMerge, kIf } kind = Kind::kLiteral;
    Json literal;
    TextTemplate text;                 // kText; of kEach the list, of kIf the condition
    std::vector<TextTemplate> names;   // kObject: of members, as many as there are children
    std::vector<Node> children;        // kIf: then and, perhaps, else
    std::vector<std::string> only, except;  // kFields
    bool keeps_null = false;

    Json Render(Scope& scope, std::span<const ChangeValues> changes) const;

private:
    Json RenderObject(Scope& scope, std::span<const ChangeValues> changes) const;
    Json RenderFields(Scope& scope, std::span<const ChangeValues> changes) const;
    Json RenderLoop(Scope& scope, std::span<const ChangeValues> changes) const;
};

Json Template::Node::RenderObject(Scope& scope, std::span<const ChangeValues> changes) const {
    Json object = Json::object();
    for (size_t i = 0; i < children.size(); ++i) {
        const auto name = Text(names[i].Render(scope));
        Json value = children[i].Render(scope, changes);
        if (value.is_null() || !name) {
            if (kind == Kind::kAll) return nullptr;
            continue;
        }
        object[*name] = std::move(value);
    }
    // A template without members means the empty object.
    if (object.empty() && !children.empty()) return nullptr;
    return object;
}

// The row's columns, or those that options.fields names (network's field → column), without the key's column unless named.
Json Template::Node::RenderFields(Scope& scope, std::span<const ChangeValues> changes) const {
    const auto listed = [](const std::vector<std::string>& names, const std::string& name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    const Json& row = scope[Name::kRow];
    if (!row.is_object()) return Json::object();
    Json fields = Json::object();
    const auto add = [&](const std::string& field, const Json& value) {
        if ((!only.empty() && !listed(only, field)) || listed(except, field)) return;
        Json rendered = value;
        if (!children.empty()) {
            scope.Set(Name::kValue, value);
            rendered = children.front().Render(scope, changes);
            scope.Unset(Name::kValue);
        } else {
            scope.Spend(value);
        }
        if (!rendered.is_null() || keeps_null) fields[field] = std::move(rendered);
    };
    const Json& options = scope[Name::kOptions];
    if (options.is_object() && options.contains("fields") && options["fields"].is_object()) {
        for (const auto& [field, column] : options["fields"].items()) {
            const auto found = column.is_string() ? row.find(column.get<std::string>()) : row.end();
            if (found != row.end()) add(field, *found);
        }
    } else {
        for (const auto& [column, value] : row.items())
            if (scope[Name::kKeyColumn] != column) add(column, value);
    }
    return fields;
}

Json Template::Node::RenderLoop(Scope& scope, std::span<const ChangeValues> changes) const {
    Json list = Json::array();
    const auto add = [&](Json value) {
        if (!value.is_null()) list.push_back(std::move(value));
    };
    if (kind == Kind::kChanges) {
        Scope inner = scope;
        for (const ChangeValues& change : changes) {
            change.Bind(inner);
            add(children.front().Render(inner, changes));
        }
        return list;
    }
    const Json items = text.Render(scope);
    if (!items.is_array()) return list;
    Scope inner = scope;
    for (size_t i = 0; i < items.size(); ++i) {
        const Json index = i;
        inner.Set(Name::kItem, items[i]);
        inner.Set(Name::kIndex, index);
        add(children.front().Render(inner, changes));
    }
    return list;
}

Json Template::Node::Render(Scope& scope, std::span<const ChangeValues> changes) const {
    switch (kind) {
        case Kind::kLiteral: scope.Spend(literal); return literal;
        case Kind::kText: return text.Render(scope);
        case Kind::kObject:
        case Kind::kAll: return RenderObject(scope, changes);
        case Kind::kFields: return RenderFields(scope, changes);
        case Kind::kChanges:
        case Kind::kEach: return RenderLoop(scope, changes);
        case Kind::kIf: {
            if (Truth(text.Render(scope))) return children[0].Render(scope, changes);
            return children.size() > 1 ? children[1].Render(scope, changes) : Json();
        }
        case Kind::kList: {
            Json list = Json::array();
            for (const Node& child : children)
                if (Json value = child.Render(scope, changes); !value.is_null()) list.push_back(std::move(value));
            return list;
        }
        case Kind::kMerge: {
            Json merged = Json::object();
            for (const Node& child : children)
                if (const Json value = child.Render(scope, changes); value.is_object()) merged.update(value);
            return merged;
        }
    }
    return nullptr;
}

namespace {

using Node = Template::Node;
using Kind = Node::Kind;

constexpr Names kOfChange{Name::kRow, Name::kKey, Name::kId, Name::kType, Name::kPosition};

Node Compile(const Json& json, Names names, size_t depth);

const std::string& TextMember(const Json& json, const char* name) {
    const auto found = json.find(name);
    if (found == json.end() || !found->is_string()) Fail("\"" + std::string(name) + "\" is no text");
    return found->get_ref<const std::string&>();
}

void AllowMembers(const Json& json, std::initializer_list<std::string_view> allowed) {
    for (const auto& [name, value] : json.items())
        if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) Fail("unexpected \"" + name + "\" beside a directive");
}

std::vector<std::string> Texts(const Json& json, const char* name) {
    std::vector<std::string> texts;
    if (!json.contains(name)) return texts;
    if (!json[name].is_array()) Fail("\"" + std::string(name) + "\" of \"$fields\" is no list");
    for (const Json& text : json[name]) {
        if (!text.is_string()) Fail("\"" + std::string(name) + "\" of \"$fields\" is no list of texts");
        texts.push_back(text.get<std::string>());
    }
    return texts;
}

Node CompileFields(const Json& json, Names names, size_t depth) {
    if (!json.is_object()) Fail("\"$fields\" is no object");
    AllowMembers(json, {"only", "except", "value", "nulls"});
    Node node;
    node.kind = Kind::kFields;
    node.only = Texts(json, "only");
    node.except = Texts(json, "except");
    node.keeps_null = json.contains("nulls") && json["nulls"] == true;
    if (json.contains("value")) node.children.push_back(Compile(json["value"], names.And({Name::kValue}), depth));
    return node;
}

Node CompileMembers(const Json& json, Kind kind, Names names, size_t depth) {
    if (!json.is_object()) Fail("\"$all\" is no object");
    Node node;
    node.kind = kind;
    for (const auto& [name, value] : json.items()) {
        if (name.starts_with("$")) Fail("no directive \"" + name + "\" here");
        node.names.push_back(TextTemplate::Parse(name, names));
        node.children.push_back(Compile(value, names, depth));
    }
    return node;
}

Node CompileObject(const Json& json, Names names, size_t depth) {
    Node node;
    if (json.contains("$changes")) {
        AllowMembers(json, {"$changes"});
        node.kind = Kind::kChanges;
        node.children.push_back(Compile(json["$changes"], names.And(kOfChange), depth));
    } else if (json.contains("$each")) {
        AllowMembers(json, {"$each", "$give"});
        if (!json.contains("$give")) Fail("\"$give\" is missing beside \"$each\"");
        node.kind = Kind::kEach;
        node.text = TextTemplate::Parse(TextMember(json, "$each"), names);
        node.children.push_back(Compile(json["$give"], names.And({Name::kItem, Name::kIndex}), depth));
    } else if (json.contains("$fields")) {
        AllowMembers(json, {"$fields"});
        return CompileFields(json["$fields"], names, depth);
    } else if (json.contains("$all")) {
        AllowMembers(json, {"$all"});
        return CompileMembers(json["$all"], Kind::kAll, names, depth);
    } else if (json.contains("$merge")) {
        AllowMembers(json, {"$merge"});
        if (!json["$merge"].is_array()) Fail("\"$merge\" is no list");
        node.kind = Kind::kMerge;
        for (const Json& part : json["$merge"]) node.children.push_back(Compile(part, names, depth));
    } else if (json.contains("$if")) {
        AllowMembers(json, {"$if", "$then", "$else"});
        if (!json.contains("$then")) Fail("\"$then\" is missing beside \"$if\"");
        node.kind = Kind::kIf;
        node.text = TextTemplate::Parse(TextMember(json, "$if"), names);
        node.children.push_back(Compile(json["$then"], names, depth));
        if (json.contains("$else")) node.children.push_back(Compile(json["$else"], names, depth));
    } else {
        return CompileMembers(json, Kind::kObject, names, depth);
    }
    return node;
}

Node Compile(const Json& json, Names names, size_t depth) {
    if (depth > kDeepest / 2) Fail("nested too deeply");
    Node node;
    if (json.is_string()) {
        node.kind = Kind::kText;
        node.text = TextTemplate::Parse(json.get_ref<const std::string&>(), names);
    } else if (json.is_array()) {
        node.kind = Kind::kList;
        for (const Json& element : json) node.children.push_back(Compile(element, names, depth + 1));
    } else if (json.is_object()) {
        return CompileObject(json, names, depth + 1);
    } else {
        node.literal = json;
    }
    return node;
}

}  // namespace

Template Template::Parse(const Json& json, Names names) {
    return Template(std::make_shared<const Node>(Compile(json, names, 0)));
}

Json Template::Render(Scope scope, std::span<const ChangeValues> changes) const { return root_->Render(scope, changes); }

}  // namespace cdp::relay
