// pg/special_call.cpp: see special_call.hpp.
#include "pg/special_call.hpp"

#include "pg/plain_style.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace cdp::pg {

namespace {

struct Argument {
    const char* name;
    const char* text;  // null: NULL
    bool constant;
    int location;
};

/// All arguments of a call, by declaration.
Argument* read_arguments(FuncExpr* call, int* count) {
    const HeapTuple function = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
    if (!HeapTupleIsValid(function)) elog(ERROR, "cache lookup failed for function %u", call->funcid);
    List* given = expand_function_arguments(call->args, false, call->funcresulttype, function);
    Oid* types;
    char** names;
    char* modes;
    get_func_arg_info(function, &types, &names, &modes);
    const bool strict = reinterpret_cast<Form_pg_proc>(GETSTRUCT(function))->proisstrict;
    ReleaseSysCache(function);

    *count = list_length(given);
    auto* arguments = static_cast<Argument*>(palloc0(sizeof(Argument) * static_cast<size_t>(*count + 1)));
    for (int i = 0; i < *count; ++i) {
        auto* expression = static_cast<Node*>(list_nth(given, i));
        Argument& argument = arguments[i];
        argument.name = names != nullptr ? names[i] : "";
        argument.location = exprLocation(expression) >= 0 ? exprLocation(expression) : call->location;
        const Node* folded = contain_var_clause(expression) ? expression : eval_const_expressions(nullptr, expression);
        if (!IsA(folded, Const)) continue;
        const auto* value = reinterpret_cast<const Const*>(folded);
        argument.constant = !value->constisnull || !strict;
        if (value->constisnull) continue;
        Oid output;
        bool is_varlena;
        getTypeOutputInfo(value->consttype, &output, &is_varlena);
        argument.text = OidOutputFunctionCall(output, value->constvalue);
    }
    return arguments;
}

}  // namespace

std::vector<Oid> SpecialFunctions(std::span<const char* const> names) {
    std::vector<Oid> functions;
    for (const char* name : names) {
        List* found = Call([&] {
            List* oids = NIL;
            const Oid schema = get_namespace_oid("cdp", false);
            CatCList* candidates = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
            for (int i = 0; i < candidates->n_members; ++i) {
                const auto* function = reinterpret_cast<Form_pg_proc>(GETSTRUCT(&candidates->members[i]->tuple));
                if (function->pronamespace == schema) oids = lappend_oid(oids, function->oid);
            }
            ReleaseSysCacheList(candidates);
            return oids;
        });
        for (int i = 0; i < list_length(found); ++i) functions.push_back(list_nth_oid(found, i));
    }
    return functions;
}

SpecialCall ReadSpecialCall(FuncExpr* call, const std::string& text, const std::string& what) {
    SpecialCall special;
    special.type = call->funcresulttype;
    special.function = Call([&] { return get_func_name(call->funcid); });
    special.begin = call->location;
    special.end = Call([&] { return end_of_call(text.c_str(), call->location); });
    const PlainStyle style;
    int count = 0;
    const Argument* arguments = Call([&] { return read_arguments(call, &count); });
    for (int i = 0; i < count; ++i) {
        const Argument& argument = arguments[i];
        if (!argument.constant)
            throw Error(sqlstate::invalid_parameter_value,
                        what + ": the argument " + (count > 1 ? "\"" + std::string(argument.name) + "\" " : "") + "of cdp." +
                            special.function + " must be a literal")
                .At(pg_mbstrlen_with_len(text.c_str(), argument.location) + 1, text);
        special.arguments.push_back(argument.text != nullptr ? std::optional<std::string>(argument.text) : std::nullopt);
    }
    return special;
}

int end_of_call(const char* text, int begin) {
    core_yy_extra_type extra;
    core_YYSTYPE value;
    YYLTYPE at;
    core_yyscan_t scanner = scanner_init(text + begin, &extra, &ScanKeywords, ScanKeywordTokens);
    int depth = 0, end = begin;
    for (int token; (token = core_yylex(&value, &at, scanner)) != 0;) {
        if (token == '(') ++depth;
        if (token == ')' && --depth == 0) {
            end = begin + at + 1;
            break;
        }
    }
    scanner_finish(scanner);
    return end;
}

}  // namespace cdp::pg
