// What the record classes share. Plain references: node/ owns all of it and outlives them.
#pragma once
#include <functional>

#include "common/ids.h"
#include "common/time.h"
#include "site/identity.h"
#include "site/read_model.h"
#include "site/writer.h"
#include "store/log.h"

namespace everspan::site {

struct Context {
  store::LogReader& log;
  Writer& writer;
  Catalog& catalog;
  const SiteIdentity& identity;
  const SiteSecrets& secrets;
  NodeId node;
  std::function<WallTime()> now;
};

}  // namespace everspan::site
