// pg/plain_style.hpp: values as texts, whatever the session's settings are.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "miscadmin.h"
#include "pgtime.h"
}

namespace cdp::pg {

/// While it is alive, dates, times and intervals are read and written as with TimeZone = UTC, DateStyle = 'ISO, MDY' and
/// IntervalStyle = postgres. Sets the server's variables past its settings, which takes no time: fit for every single value.
class PlainStyle {
public:
    PlainStyle() {
        static pg_tz* const utc = Call([] { return pg_tzset("GMT"); });  // the name that needs no file
        session_timezone = utc;
        DateStyle = USE_ISO_DATES;
        DateOrder = DATEORDER_MDY;
        IntervalStyle = INTSTYLE_POSTGRES;
    }
    ~PlainStyle() {
        session_timezone = zone_;
        DateStyle = style_;
        DateOrder = order_;
        IntervalStyle = interval_;
    }
    PlainStyle(const PlainStyle&) = delete;

private:
    pg_tz* zone_ = session_timezone;
    int style_ = DateStyle, order_ = DateOrder, interval_ = IntervalStyle;
};

}  // namespace cdp::pg
