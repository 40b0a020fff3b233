// relay/template.hpp: JSON with expressions in it, from a connector's row. The forms: docs/connectors.md.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "relay/expression.hpp"

namespace cdp::relay {

/// A text with expressions in it. One expression alone keeps its type; beside text, or several, they become text, and
/// all of it is null where one of them is.
class TextTemplate {
public:
    static TextTemplate Parse(std::string_view text, Names names);
    Json Render(const Scope& scope) const;
    /// Percent-encodes what expressions give, but for {{ endpoint }}. Throws Error (invalid_parameter_value) where one
    /// gives null, nothing, or dots that would be a step in the path.
    std::string RenderUrl(const Scope& scope) const;

private:
    struct Piece {
        std::string text;
        std::optional<Expression> expression;  // instead of the text
    };
    std::vector<Piece> pieces_;
};

/// A change as expressions see it.
struct ChangeValues {
    const Json* row;
    Json key, id, type, position;
    void Bind(Scope& scope) const;
};

/// A JSON value in whose texts expressions stand, and whose objects may be directives ($changes, $each, $fields, …).
/// Members and elements that give null are left out; so is an object all of whose members are.
class Template {
public:
    /// Throws Error (invalid_parameter_value).
    static Template Parse(const Json& json, Names names);

    Json Render(Scope scope, std::span<const ChangeValues> changes) const;

    struct Node;

private:
    explicit Template(std::shared_ptr<const Node> root) : root_(std::move(root)) {}
    std::shared_ptr<const Node> root_;
};

}  // namespace cdp::relay
